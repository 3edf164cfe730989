"""Counting files that are left out, in bounded memory."""

from __future__ import annotations

from pipeline.datasets.photos.skipped import Skipped


def test_reasons_with_counts_and_the_first_names() -> None:
    skipped = Skipped()
    assert not skipped
    for number in range(1200):
        skipped.add("hidden", f".{number}")
    skipped.add("not photos (.txt)", "a.txt")
    assert list(skipped.lines()) == ["1,200 hidden: .0, .1, .2, ...", "1 not photos (.txt): a.txt"]
    assert skipped.counts() == {"hidden": 1200, "not photos (.txt)": 1}
    skipped.clear()
    assert not list(skipped.lines())


def test_the_number_of_reasons_is_limited() -> None:
    skipped = Skipped()
    for number in range(5000):
        skipped.add(f"not photos (.{number})", f"x.{number}")
    assert len(skipped.counts()) < 30
    assert sum(skipped.counts().values()) == 5000

"""Bad entries: counted and named, errors where most are bad or reading is strict."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from pipeline.datasets.bad_entries import BadEntries
from pipeline.errors import QpertError


def read(bad: BadEntries, *entries: str) -> list[str]:
    """Entries that are not "bad"."""
    found = []
    for number, entry in enumerate(entries):
        with bad:
            if entry == "bad":
                raise QpertError(f"{bad.path}: entry {number} is bad")
            found.append(entry)
    return found


def test_bad_entries_are_left_out_and_the_first_are_named() -> None:
    bad = BadEntries(Path("a.json"))
    assert read(bad, "x", *["bad"] * 5, *"abcdefg") == list("xabcdefg")
    bad.check()
    with pytest.warns(UserWarning, match="5 entries") as caught:
        bad.warn()
    assert [str(warning.message) for warning in caught] == [
        "a.json: 5 entries cannot be read and are left out: entry 1 is bad; entry 2 is bad; entry 3 is bad; ..."
    ]


def test_nothing_is_said_where_nothing_is_bad() -> None:
    bad = BadEntries(Path("a.json"))
    read(bad, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bad.check()
        bad.check_any(False)
        bad.warn()


@pytest.mark.parametrize(("entries", "fails"), [(["bad"], True), (["x", "bad"], False), (["x", "bad", "bad"], True)])
def test_a_file_of_which_most_is_bad_is_refused(entries: list[str], fails: bool) -> None:
    bad = BadEntries(Path("a.json"))
    read(bad, *entries)
    if fails:
        with pytest.raises(QpertError, match=rf"a\.json: entry {entries.index('bad')} is bad"):
            bad.check()
    else:
        bad.check()


def test_each_list_of_a_file_is_judged_by_itself() -> None:
    bad = BadEntries(Path("a.json"))
    read(bad, *"abcdef")
    bad.check()
    read(bad, "bad", "bad", "x")
    with pytest.raises(QpertError, match=r"entry 0 is bad \(2 of 3 entries cannot be read\)"):
        bad.check()


def test_nothing_found_beside_bad_entries_is_an_error() -> None:
    bad = BadEntries(Path("a.json"))
    read(bad, "x", "bad")
    bad.check()
    bad.check_any(True)
    with pytest.raises(QpertError, match="entry 1 is bad"):
        bad.check_any(False)


def test_strict_reading_ends_at_the_first_bad_entry() -> None:
    bad = BadEntries(Path("a.json"), strict=True)
    with pytest.raises(QpertError, match="entry 1 is bad"):
        read(bad, "x", "bad", "y")


def test_other_errors_are_not_hidden() -> None:
    bad = BadEntries(Path("a.json"))
    with pytest.raises(ZeroDivisionError), bad:
        raise ZeroDivisionError
    assert bad.count == 0

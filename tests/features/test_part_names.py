"""Names and numbers of parts."""

from __future__ import annotations

import pytest

from pipeline.features.part_names import in_words, part_name, place


def test_names_sort_like_the_parts() -> None:
    names = [part_name(number, 100) for number in range(1, 101)]
    assert names == sorted(names)
    assert (names[2], part_name(3, 4)) == ("003-of-100", "3-of-4")


def test_the_place_of_a_file() -> None:
    assert place("x-0.parquet") == "features/x-0.parquet"
    assert place("3-of-4/x-0.parquet") == "parts/3-of-4/features/x-0.parquet"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([3], "part 3"), ([1, 2, 4], "parts 1, 2 and 4"), ([1, 2, 3, 7, 9, 10, 11], "parts 1 to 3, 7 and 9 to 11")],
)
def test_numbers_in_words(numbers: list[int], words: str) -> None:
    assert in_words(numbers) == words

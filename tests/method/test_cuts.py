"""Cuts of a photo in whole pixels: boxes with a margin, and tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.method.cuts import as_box, cut_around, tiles

SIZES = st.tuples(st.integers(1, 700), st.integers(1, 700))
SPANS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def test_a_box_of_whole_pixels_is_cut_exactly() -> None:
    box = np.float32([10 / 97, 5 / 61, 20 / 97, 6 / 61]).tolist()
    assert cut_around(box, 0, (97, 61)) == (10, 5, 20, 6)


def test_the_margin_is_a_share_of_the_box_and_ends_with_the_photo() -> None:
    assert cut_around([0.4, 0.2, 0.6, 0.4], 0.5, (100, 100)) == (30, 10, 70, 50)
    assert cut_around([0.0, 0.9, 0.2, 1.0], 0.5, (100, 100)) == (0, 85, 30, 100)


@given(SPANS, SPANS, st.floats(0, 3), SIZES)
def test_a_cut_holds_the_box_and_lies_in_the_photo(across, down, margin, size) -> None:
    cut = cut_around([across[0], down[0], across[1], down[1]], margin, size)
    for axis, (low, high) in enumerate((across, down)):
        assert 0 <= cut[axis] < cut[axis + 2] <= size[axis]
        assert cut[axis] <= low * size[axis] + 0.01 or cut[axis] == size[axis] - 1
        assert cut[axis + 2] >= high * size[axis] - 0.01
    assert all(0 <= side <= 1 for side in as_box(cut, size))


@given(st.integers(1, 5), st.floats(0, 0.9), SIZES)
def test_tiles_cover_the_photo_and_have_equal_sides(across: int, overlap: float, size: tuple[int, int]) -> None:
    made = tiles(across, overlap, size)
    assert len(made) == across**2
    covered = np.zeros((size[1], size[0]), bool)
    for left, top, right, bottom in made:
        assert left < right
        assert top < bottom
        covered[top:bottom, left:right] = True
    if min(size) >= across:
        assert covered.all()
    widths = {right - left for left, _, right, _ in made}
    assert max(widths) - min(widths) <= 1


def test_neighbours_overlap() -> None:
    first, second, third, fourth = tiles(2, 0.2, (900, 450))
    assert first == (0, 0, 500, 250)
    assert second == (400, 0, 900, 250)
    assert third == (0, 200, 500, 450)
    assert fourth == (400, 200, 900, 450)
    assert tiles(1, 0.5, (3, 4)) == [(0, 0, 3, 4)]


@pytest.mark.parametrize(("across", "overlap"), [(0, 0.2), (2, 1.0), (2, -0.1)])
def test_impossible_tiles_are_refused(across: int, overlap: float) -> None:
    with pytest.raises(QpertError, match="overlap by 0 to less than 1"):
        tiles(across, overlap, (10, 10))


def test_halves_of_pixels_are_rounded_alike() -> None:
    """Rounded to even numbers, the sides here would be 160 to 162 pixels."""
    assert {right - left for left, _, right, _ in tiles(5, 0.5, (483, 400))} == {161}

"""Boxes moved to where no object is."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.method.placement import _covered, place_elsewhere

fraction = st.floats(0, 1, width=32)


@st.composite
def some_boxes(draw: st.DrawFn) -> torch.Tensor:
    rows = draw(st.lists(st.tuples(fraction, fraction, fraction, fraction), min_size=1, max_size=12))
    edges = torch.tensor(rows)
    return torch.cat([edges.view(-1, 2, 2).amin(1), edges.view(-1, 2, 2).amax(1)], 1)


@settings(max_examples=150, deadline=None)
@given(boxes=some_boxes(), seed=st.integers(0, 1000))
def test_boxes_keep_their_sizes_and_meet_no_object(boxes: torch.Tensor, seed: int) -> None:
    moved = place_elsewhere(boxes, (seed,))
    assert moved.dtype == torch.float32
    assert moved.shape == boxes.shape
    assert ((moved >= 0) & (moved <= 1)).all()
    for box, before in zip(moved.double(), boxes.double(), strict=True):
        if not box.any():
            continue  # there was no room
        torch.testing.assert_close(box[2:] - box[:2], before[2:] - before[:2], atol=2e-7, rtol=0)
        across = torch.minimum(box[2], boxes[:, 2]) - torch.maximum(box[0], boxes[:, 0])
        down = torch.minimum(box[3], boxes[:, 3]) - torch.maximum(box[1], boxes[:, 1])
        assert (torch.minimum(across, down) <= 2e-7).all()


def test_small_boxes_find_the_only_gap() -> None:
    taken = torch.tensor([[0, 0, 1, 0.4], [0, 0.5, 1, 1], [0, 0.4, 0.7, 0.5], [0.8, 0.4, 1, 0.5], [0, 0, 0.05, 0.05]])
    moved = place_elsewhere(taken, (1,))
    assert (moved[:4] == 0).all()  # wider or higher than the gap
    x0, y0, x1, y1 = moved[4].tolist()
    assert 0.7 - 1e-6 <= x0 < x1 <= 0.8 + 1e-6
    assert 0.4 - 1e-6 <= y0 < y1 <= 0.5 + 1e-6


def test_a_box_of_the_whole_photo_has_no_other_place() -> None:
    assert not place_elsewhere(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (0,)).any()
    assert place_elsewhere(torch.zeros(0, 4), (0,)).shape == (0, 4)


def test_a_box_as_wide_or_as_high_as_the_photo_moves_along_its_other_side() -> None:
    below = torch.tensor([[0.0, 0.7, 1.0, 1.0]])
    moved = torch.cat([place_elsewhere(below, (seed,)) for seed in range(50)])
    torch.testing.assert_close(moved[:, 3] - moved[:, 1], torch.full((50,), 0.3), atol=1e-6, rtol=0)
    assert (moved[:, 0] == 0).all()
    assert (moved[:, 2] == 1).all()
    assert (moved[:, 3] <= 0.7 + 1e-6).all()
    assert len(moved[:, 1].unique()) > 40
    right = below[:, [1, 0, 3, 2]]
    assert (place_elsewhere(right, (0,))[:, [1, 3]] == torch.tensor([[0.0, 1.0]])).all()
    pillar = torch.tensor([[0.4, 0.0, 0.6, 1.0]])
    assert not place_elsewhere(torch.cat([below, pillar]), (0,))[0].any()  # the pillar stands in its way


def test_places_are_uniform_over_the_free_ones() -> None:
    """A corner box leaves an L; a small box falls into each part of it in proportion to its corners' area."""
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.1, 0.1]])
    corners = np.array([place_elsewhere(boxes, (seed,))[1, :2].tolist() for seed in range(1000)])
    free = 0.9**2 - 0.5**2
    for share, inside in (
        (0.4 * 0.9 / free, corners[:, 0] >= 0.5),
        (0.4 * 0.9 / free, corners[:, 1] >= 0.5),
        (0.4 * 0.4 / free, (corners >= 0.5).all(1)),
    ):
        assert abs(inside.mean() - share) < 0.05


def test_places_depend_on_the_seed_alone() -> None:
    boxes = torch.tensor([[0.2, 0.2, 0.4, 0.4]])
    assert torch.equal(place_elsewhere(boxes, (3, 4)), place_elsewhere(boxes, (3, 4)))
    assert not torch.equal(place_elsewhere(boxes, (3, 4)), place_elsewhere(boxes, (3, 5)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=1, max_size=8))
def test_covered_cells_are_those_in_the_rows_and_columns_of_a_box(edges: list[tuple[int, int, int, int]]) -> None:
    cell, ends = np.arange(6), np.array(edges)
    rows = (ends[:, [0]] <= cell) & (cell < ends[:, [1]])
    columns = (ends[:, [2]] <= cell) & (cell < ends[:, [3]])
    np.testing.assert_array_equal(_covered(rows, columns), (rows[:, :, None] & columns[:, None, :]).any(0))

"""Boxes of other photos in place of a photo's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.method.other_photos import OtherPhotos


def photos(counts: list[int]) -> dict[str, np.ndarray]:
    """Photos whose boxes all differ."""
    first = np.cumsum([0, *counts])
    return {
        f"photo {number}": (np.arange(first[number], first[number + 1])[:, None] + [0, 1, 2, 3]) / 1000
        for number in range(len(counts))
    }


@given(counts=st.lists(st.integers(0, 6), max_size=30), seed=st.integers(0, 2**32 - 1))
def test_every_photo_gets_as_many_boxes_and_never_its_own(counts: list[int], seed: int) -> None:
    given_boxes = photos(counts)
    others = OtherPhotos(given_boxes.items())
    everything = {tuple(box) for of_photo in given_boxes.values() for box in of_photo.astype(np.float32).tolist()}
    for name, own in given_boxes.items():
        got = others.of(name, seed)
        assert got.dtype == np.float32
        alone = sum(map(bool, counts)) == 1
        assert got.shape == ((0, 4) if alone else own.shape)
        mine = {tuple(box) for box in own.astype(np.float32).tolist()}
        assert {tuple(box) for box in got.tolist()} <= everything - mine


def test_photos_with_equally_many_boxes_swap_them() -> None:
    given_boxes = photos([2, 2, 2, 2, 3, 3])
    others = OtherPhotos(given_boxes.items())
    got = sorted(others.of(name, 1).tolist() for name in list(given_boxes)[:4])
    assert got == sorted(boxes.astype(np.float32).tolist() for boxes in list(given_boxes.values())[:4])


def test_the_order_of_the_photos_and_the_batch_do_not_matter_but_the_seed_does() -> None:
    given_boxes = photos([1] * 20)
    one, two = OtherPhotos(given_boxes.items()), OtherPhotos(reversed(list(given_boxes.items())))
    drawn = [
        [tuple(others.of(name, seed)[0]) for name in given_boxes] for others, seed in ((one, 0), (two, 0), (one, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_photo_alone_with_its_number_takes_boxes_of_all_others() -> None:
    others = OtherPhotos(photos([5, 1, 1, 1]).items())
    got = others.of("photo 0", 0)
    assert got.shape == (5, 4)  # of three boxes
    assert len(np.unique(got, axis=0)) <= 3


def test_unknown_photos_and_single_ones_get_none() -> None:
    assert OtherPhotos([]).of("a", 0).shape == (0, 4)
    assert OtherPhotos([("a", [[0, 0, 1, 1]])]).of("a", 0).shape == (0, 4)
    assert OtherPhotos([("a", [[0, 0, 1, 1]])]).of("b", 0).shape == (0, 4)

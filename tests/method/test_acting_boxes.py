"""Which boxes act."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import QpertError
from pipeline.method.acting_boxes import acting_objects
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

BOXES = [[0.1, 0.1, 0.2, 0.3], [0.5, 0.5, 0.6, 0.9]]
OTHERS = {3: torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.7, 0.7, 1.0, 1.0]])}


def objects(photo: str = "a") -> Objects:
    return Objects(BOXES, ("dog", "cat"), (0.9, 0.8), (40, 30), photo, OTHERS)


def test_own_boxes_are_the_objects_themselves() -> None:
    own = objects()
    assert acting_objects(own, Perturbation()) is own


def test_shuffled_boxes_are_those_given_for_the_seed() -> None:
    got = acting_objects(objects(), Perturbation(boxes="shuffled", seed=3))
    assert torch.equal(got.boxes, OTHERS[3])
    assert (got.labels, got.size, got.photo) == (("dog", "cat"), (40, 30), "a")
    torch.testing.assert_close(got.areas, torch.tensor([0.16, 0.09]))
    with pytest.raises(QpertError, match="photo a was not given 2 boxes of other photos for seed 4"):
        acting_objects(objects(), Perturbation(boxes="shuffled", seed=4))
    few = Objects(BOXES, ("", ""), (1, 1), (40, 30), "", {0: torch.zeros(1, 4)})
    with pytest.raises(QpertError, match="without id"):
        acting_objects(few, Perturbation(boxes="shuffled"))


def test_boxes_elsewhere_have_the_same_areas_and_are_the_photos_own_draw() -> None:
    setting = Perturbation(boxes="elsewhere")
    got = acting_objects(objects(), setting)
    torch.testing.assert_close(got.areas, objects().areas)
    assert torch.equal(got.boxes, acting_objects(objects(), setting).boxes)
    for other in (
        acting_objects(objects("b"), setting),
        acting_objects(objects(), Perturbation(boxes="elsewhere", seed=1)),
    ):
        assert not torch.equal(got.boxes, other.boxes)


def test_photos_without_objects_need_no_other_boxes() -> None:
    nothing = Objects.empty((9, 9))
    for boxes in ("shuffled", "elsewhere"):
        assert acting_objects(nothing, Perturbation(boxes=boxes)) is nothing  # type: ignore[arg-type]


def test_the_key_of_a_photo_is_its_ids_or_its_boxes() -> None:
    assert objects("a").key == Objects(BOXES[:1], ("x",), (1,), (7, 7), "a").key != objects("b").key
    assert objects("").key == objects("").key != Objects(BOXES[:1], ("dog",), (1,), (40, 30)).key
    assert 0 <= objects().key < 2**64


@pytest.mark.parametrize("bad", [[[0.5, 0.5, 0.1, 0.1]], [[0.0, 0.0, float("nan"), 1.0]]])
def test_bad_boxes_of_other_photos_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(QpertError):
        Objects(BOXES[:1], ("",), (1,), (9, 9), "a", {0: torch.tensor(bad)})

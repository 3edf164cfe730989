"""Choosing objects, and the captions written with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.encoders.blip2.encoder import Blip2Encoder
from pipeline.encoders.emphasis import Emphasis, emphases, emphasised_captions, subset, write_captions
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from tests.encoders.blip2.tiny_blip2 import build, counting, head_state, tokenizer

OBJECTS = Objects(
    [[0, 0, 0.5, 0.5], [0.2, 0.1, 1, 1], [0, 0.5, 0.3, 1]], ["Dog", "star", "dog"], [0.9, 0.8, 0.7], (64, 48)
)


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("dog", [(0, 2)]), (" STAR ", [(1,)]), ("cat", []), ("2", [(1,)]), ("4", []),
        ("all", [(0,), (1,), (2,)]),
    ],
)  # fmt: skip
def test_objects_are_chosen_by_label_number_or_all(what: str, numbers: list[tuple[int, ...]]) -> None:
    assert [emphasis.numbers for emphasis in emphases(OBJECTS, what)] == numbers


def test_numbers_start_at_one() -> None:
    for what in ("0", "-1"):
        with pytest.raises(QpertError, match=f"numbered from 1, so there is no {what}"):
            emphases(OBJECTS, what)


def test_names_are_readable() -> None:
    assert [emphasis.name for emphasis in emphases(OBJECTS, "dog")] == ["Dog, dog #1 #3"]
    assert emphases(Objects([[0, 0, 1, 1]], [""], [1], (4, 4)), "1")[0].name == "object #1"


def test_a_subset_keeps_boxes_labels_and_scores() -> None:
    some = subset(OBJECTS, (2, 0))
    assert some.labels == ("dog", "Dog")
    assert torch.equal(some.boxes, OBJECTS.boxes[[2, 0]])
    assert some.scores.tolist() == pytest.approx([0.7, 0.9])


@torch.no_grad()
def test_each_emphasis_gets_the_caption_written_for_it_alone(tmp_path: Path) -> None:
    model = build()
    encoder = Blip2Encoder.from_model(model, tokenizer(tmp_path), head_state(model))
    noise = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)  # Pillow's own noise has no seed
    images = [Image.fromarray(pixels) for pixels in noise]
    objects = [OBJECTS, Objects.empty((64, 48))]
    setting = Perturbation(scale=50, stages=("lm",))
    looked = counting(model.vision_model)
    wanted = [[Emphasis("a", (1,)), Emphasis("b", (0, 2))], []]
    first, second = write_captions(encoder, images, objects, wanted, setting, {"num_beams": 2})
    assert looked() == 1
    assert second.emphasised == ()
    tokens = encoder.backbone(torch.stack([encoder.preprocess(image) for image in images]))
    assert [first.plain, second.plain] == encoder.caption(tokens, num_beams=2)
    for (emphasis, text), numbers in zip(first.emphasised, [(1,), (0, 2)], strict=True):
        assert emphasis.numbers == numbers
        assert [text] == encoder.caption(tokens[:1], [subset(OBJECTS, numbers)], setting, num_beams=2)
    assert {text for _, text in first.emphasised} != {first.plain}


@torch.no_grad()
def test_boxes_elsewhere_keep_clear_of_objects_that_are_not_emphasised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    encoder = Blip2Encoder.from_model(model, tokenizer(tmp_path), head_state(model))
    seen: list[Objects] = []
    caption = encoder.caption

    def noting(tokens: torch.Tensor, chosen: list[Objects], setting: Perturbation, **decoding: object) -> list[str]:
        assert setting.boxes == "own"
        seen.extend(chosen)
        return caption(tokens, chosen, setting, **decoding)

    monkeypatch.setattr(encoder, "caption", noting)
    photo = Objects([[0, 0, 0.2, 0.2], [0.25, 0, 1, 1]], ["dot", "wall"], [1, 1], (64, 48), "photo")
    tokens = encoder.backbone(torch.stack([encoder.preprocess(Image.new("RGB", (64, 48)))]))
    setting = Perturbation(stages=("lm",), boxes="elsewhere")
    emphasised_captions(encoder, tokens, [photo], [(0, Emphasis("dot", (0,)))], setting, {"num_beams": 1})
    (dot,) = seen
    x0, y0, x1, y1 = dot.boxes[0].tolist()
    assert x1 <= 0.25 + 1e-6  # beside the wall
    assert y0 >= 0.2 - 1e-6  # below the dot itself
    assert (x1 - x0, y1 - y0) == pytest.approx((0.2, 0.2))

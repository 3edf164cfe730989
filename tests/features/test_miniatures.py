"""Who is warned of miniature models, and who is not."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pipeline.features.fingerprint import bundled
from pipeline.features.manifest import Manifest
from pipeline.features.miniatures import is_miniature, miniature_warning, miniatures_of, warning_of

BUNDLED = {"name": "coca", "weights": {"name": "coca", "digest": "0" * 16}}


def manifest(
    *,
    encoder: dict[str, Any] = BUNDLED,
    weights: Any = None,
    detector: Any = "miniature",
    scenes: bool | None = False,
) -> Manifest:
    config = {"weights": weights, "detector": {"model": detector}}
    return Manifest(fingerprint="0" * 16, encoder=encoder, config=config, scenes=scenes)


def test_miniatures_on_photos_are_warned_of_with_the_models_to_use() -> None:
    text = warning_of(manifest())
    assert text is not None
    first, *others = text.split("\n")
    assert first == "MINIATURE MODELS ON REAL PHOTOS"
    assert "The encoder coca is the bundled miniature" in others[0]
    assert others[1].startswith("The detector is the bundled miniature")
    encoder, detector = "--encoder open_clip --weights ViT-B-16-SigLIP2-256:webli", "hf:Roboflow/rf-detr-base"
    assert others[2] == f"For real photos use: {encoder} --detector {detector}"
    assert others[3] == "When first used they download 1.5 GB and 130 MB."


@pytest.mark.parametrize(
    "quiet",
    [
        manifest(scenes=True),
        manifest(weights="coca_ViT-L-14:laion2b_s13b_b90k", detector="yolo11n.pt"),
        manifest(weights="/elsewhere/weights", detector="none"),
        manifest(encoder={"name": "own"}, detector="none"),
    ],
    ids=["scenes", "published", "files", "a program's own encoder"],
)
def test_others_are_not_warned(quiet: Manifest) -> None:
    assert warning_of(quiet) is None


def test_the_detector_alone_has_its_own_sentence_and_remedy() -> None:
    text = warning_of(manifest(weights="coca_ViT-L-14:laion2b_s13b_b90k"))
    assert text is not None
    assert text.startswith("MINIATURE DETECTOR ON REAL PHOTOS\nThe detector is")
    assert "For real photos use: --detector hf:Roboflow/rf-detr-base\n" in text


def test_the_encoder_alone_keeps_the_detector_that_was_chosen() -> None:
    text = warning_of(manifest(detector="yolo11x.pt"))
    assert text is not None
    assert text.startswith("MINIATURE MODEL ON REAL PHOTOS\nThe encoder coca is")
    assert "--detector" not in text


def test_features_of_earlier_versions_may_be_of_anything() -> None:
    values = manifest().model_dump()
    del values["scenes"]
    text = warning_of(Manifest.model_validate(values))
    assert text is not None
    assert text.startswith("MINIATURE MODELS ON PHOTOS THAT MAY NOT BE SCENES\n")
    assert "Whether these photos are scenes is not known." in text


@pytest.mark.parametrize("values", [3, [], {"digest": None}, "coca"])
def test_a_manifest_by_a_stranger_is_no_error(values: Any) -> None:
    strange = manifest(encoder={"name": ["x"], "weights": values}, weights={"a": 1}, detector=[1])
    assert miniatures_of(strange) == (None, False)
    strange = strange.model_copy(update={"config": {"detector": "miniature"}})
    assert warning_of(strange) is None


def test_bundled_weights_are_known_by_their_folder() -> None:
    assert all(map(is_miniature, (None, "miniature", bundled(None, "blip2"))))
    assert not any(map(is_miniature, ("coca", "miniature/coca", os.path.dirname(bundled(None, "coca")), 3)))


def test_captions_name_other_weights() -> None:
    text = miniature_warning("blip2", detector=False, scenes=False, advice=("--weights mine", "1 GB"))
    assert text is not None
    assert text.endswith("For real photos use: --weights mine\nWhen first used they download 1 GB.")

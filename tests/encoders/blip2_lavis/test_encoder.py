"""blip2-lavis against LAVIS' own methods, and the encoder blip2 with the same weights against both."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.encoders import load_encoder
from pipeline.errors import QpertError
from tests.encoders.blip2_lavis.lavis_reference import all_of, captions_of, objects_of

TEXTS = ["a small red star", "two dog on the beach", "the dog"]
BOXES = [[[0, 0, 0.5, 0.25], [0.25, 0.5, 1, 1]], [], [[0.5, 0.25, 0.75, 1]]]
"""On the lines of a 4 x 4 grid."""
SETTINGS = [
    {"weight": weight, "threshold": threshold, "combine": combine, "scale": 6.0, "stages": ["itc", "itm", "lm"]}
    for weight, threshold, combine in itertools.product(
        ("constant", "area", "0.5-area"), (0.8, 0.9, 0.99), ("sum", "mean")
    )
]


@pytest.fixture(scope="module")
def made(run_lavis: Callable[..., Path]) -> Path:
    """A tiny LAVIS checkpoint, and LAVIS' results with it from a process of its own."""
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(1)).round(decimals=3)
    return run_lavis(pixels=pixels.tolist(), texts=TEXTS, boxes=BOXES, cases=[{}, *SETTINGS])


@pytest.fixture(scope="module")
def results(made: Path) -> dict[str, Any]:
    given = json.loads((made / "cases.json").read_text())
    encoder = load_encoder("blip2", weights=str(made / "tiny.pth"))
    own = all_of(encoder, torch.tensor(given["pixels"]), TEXTS, given["cases"], objects_of(given["boxes"]))
    return {
        "blip2": own,
        "lavis": torch.load(made / "lavis.pt", weights_only=True),
        "plain": torch.load(made / "plain.pt", weights_only=True),
    }


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["blip2", "lavis"])
def test_plain_results_equal_lavis_own_methods(results: dict[str, Any], name: str) -> None:
    got, want = results[name], results["plain"]
    close(got["tokens"], want["tokens"])
    close(got["text"], want["text"])
    close(got["cases"][0]["image"], want["image"])
    close(got["cases"][0]["match"], want["match"])
    assert got["cases"][0]["captions"] == want["captions"]
    assert all(len(text.split()) > 3 for text in want["captions"][3])


@pytest.mark.parametrize("number", range(1, 1 + len(SETTINGS)))
def test_perturbed_results_of_both_encoders_agree(results: dict[str, Any], number: int) -> None:
    ours, lavis, plain = results["blip2"]["cases"][number], results["lavis"]["cases"][number], results["plain"]
    close(ours["image"], lavis["image"])
    close(ours["match"], lavis["match"])
    close(ours["match_many"], lavis["match_many"])
    assert ours["captions"] == lavis["captions"]
    close(ours["image"][1], plain["image"][1])  # no objects in the second photo
    assert (ours["image"] - plain["image"]).abs().amax((1, 2))[[0, 2]].min() > 3e-4


def test_our_beam_search_equals_transformers_4_26(results: dict[str, Any], made: Path) -> None:
    """Eight photos x four biases of the end token x one to five beams: captions of all lengths."""
    encoder: Any = load_encoder("blip2", weights=str(made / "tiny.pth"))
    tokens = encoder.backbone(results["plain"]["many"])
    got = captions_of(lambda beams: encoder.caption(tokens, num_beams=beams), encoder.head.decoder.bias)
    assert got == results["plain"]["many_captions"]
    assert len({len(text.split()) for texts in got for text in texts}) > 5


def test_captions_change_under_some_settings(results: dict[str, Any]) -> None:
    plain = results["plain"]["captions"]
    assert any(case["captions"] != plain for case in results["lavis"]["cases"][1:])


def test_both_encoders_have_the_same_sites(results: dict[str, Any], made: Path) -> None:
    assert results["lavis"]["sites"] == [f"Qformer.bert.encoder.layer.{i}.crossattention.self" for i in (0, 2)]


def test_a_process_without_the_environment_is_reported(made: Path) -> None:
    with pytest.raises(QpertError, match=r"process of its own.*the encoder blip2 opens the same weights"):
        load_encoder("blip2-lavis", weights=str(made / "tiny.pth"))

"""Encoders by name, and the memory they take."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from pipeline.encoders import encoder_spec, list_encoders, load_encoder, miniature_encoders, resolve_weights
from pipeline.encoders.spec import WORKING_MEMORY
from pipeline.errors import QpertError

GIB = 2**30


def weights(name: str, of: str | None, dtype: str) -> int:
    return encoder_spec(name, of).memory(dtype) - WORKING_MEMORY


@pytest.mark.parametrize("name", miniature_encoders())
def test_the_spec_predicts_the_size_of_the_weights(name: str) -> None:
    encoder = load_encoder(name)
    parameters = list(encoder.model.parameters())  # type: ignore[attr-defined]
    assert weights(name, None, "float32") == weights(name, "miniature", "float32")
    assert weights(name, None, "float32") == pytest.approx(sum(parameter.nbytes for parameter in parameters), rel=0.01)
    in_half: Any = load_encoder(name, dtype="bfloat16")
    half = sum(parameter.nbytes for parameter in in_half.model.parameters())
    assert weights(name, None, "bfloat16") == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize(
    ("name", "of", "dtype", "gigabytes"),
    [
        ("internvl", "OpenGVLab/InternVL-14B-224px", "float16", 27.7),
        ("internvl", "OpenGVLab/InternVL-14B-224px", "float32", 55.3),
        ("blip2", "Salesforce/blip2-itm-vit-g-coco", "float32", 4.69),
        ("blip2", "Salesforce/blip2-itm-vit-g-coco", "float16", 2.72),
        ("coca", "coca_ViT-L-14:laion2b_s13b_b90k", "float32", 2.55),
        ("coca", "coca_ViT-B-32:laion2b_s13b_b90k", "float32", 1.01),
    ],
)
def test_published_sizes(name: str, of: str, dtype: str, gigabytes: float) -> None:
    assert weights(name, of, dtype) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_gpu_that_is_too_small_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    place, empty = SimpleNamespace(device=torch.device("cuda", 0)), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: place if k.get("device") == "cuda" else empty(*a, **k))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=11 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GTX 1080 Ti")
    with pytest.raises(QpertError, match=r"internvl takes 28.\d GB in float16, and GTX 1080 Ti has 11.8: leave such"):
        load_encoder("internvl", weights="OpenGVLab/InternVL-14B-224px", device="cuda", dtype="float16")


def test_a_machine_that_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=24 * GIB))
    with pytest.raises(QpertError, match=r"takes 56.\d GB in float32, and this machine has 25.8: --dtype bfloat16"):
        load_encoder("internvl", weights="OpenGVLab/InternVL-14B-224px")


def test_two_encoders_share_one_miniature() -> None:
    assert {"internvl", "internvl-c"} <= {*list_encoders()}
    assert resolve_weights("internvl-c", None) == resolve_weights("internvl", "miniature")
    assert Path(resolve_weights("internvl", None)).name == "internvl"
    assert Path(resolve_weights("coca", None)).name == "coca"
    with pytest.raises(QpertError, match="unknown encoder 'clip'"):
        encoder_spec("clip", None)
    with pytest.raises(QpertError, match="unknown dtype 'int8'"):
        encoder_spec("coca", None).memory("int8")


@pytest.mark.parametrize("name", ["blip2", "coca", "internvl", "internvl-c"])
def test_the_sizes_of_the_miniatures_are_those_of_their_weights(name: str) -> None:
    folder = resolve_weights(name, None)
    assert encoder_spec(name, None) == encoder_spec(name, folder)
    assert encoder_spec(name, None).sites == len(load_encoder(name).sites())

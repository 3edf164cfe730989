"""Configurations of SigLIP: plain values under known keys, in range."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import Siglip2Config, SiglipConfig

from pipeline.encoders.siglip2.config import parse_sizes, read_preprocessing, read_sizes
from pipeline.errors import QpertError
from tests.encoders.siglip2 import tiny_siglip


@pytest.mark.parametrize("native", [False, True])
def test_a_saved_configuration_is_read_as_it_was(native: bool, tmp_path: Path) -> None:
    saved = tiny_siglip.config(native)
    saved.save_pretrained(tmp_path)
    got = read_sizes(tmp_path / "config.json").for_transformers()
    assert type(got) is (Siglip2Config if native else SiglipConfig)
    for part in ("vision_config", "text_config"):
        ours, theirs = getattr(got, part).to_dict(), getattr(saved, part).to_dict()
        assert ours == {**theirs, "dtype": None}


def test_missing_values_are_the_librarys() -> None:
    got: Any = parse_sizes({"model_type": "siglip2"}, "here").for_transformers()
    vision, text = got.vision_config, got.text_config
    assert (vision.hidden_size, vision.num_patches, text.vocab_size) == (768, 256, 32000)
    sizes = parse_sizes({"model_type": "siglip", "vision_config": {"image_size": 384}}, "here")
    assert (sizes.vision_config.image_size, sizes.vision_config.patch_size, sizes.native) == (384, 16, False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "model_type None is not siglip or siglip2"),
        ({"model_type": "clip"}, "model_type 'clip' is not siglip"),
        ({"model_type": "siglip", "vision_config": {"hidden_size": 0}}, "vision_config.hidden_size"),
        ({"model_type": "siglip", "vision_config": {"num_hidden_layers": 10**6}}, "num_hidden_layers"),
        ({"model_type": "siglip", "vision_config": {"num_attention_heads": 7}}, "7 heads do not divide 768"),
        ({"model_type": "siglip", "vision_config": {"vision_use_head": False}}, "vision_use_head"),
        ({"model_type": "siglip", "vision_config": {"patch_size": [16, 8]}}, "patch_size"),
        ({"model_type": "siglip", "text_config": {"hidden_act": "os.system"}}, "hidden_act"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        parse_sizes(values, "config.json")


def test_preprocessing_is_read_where_transformers_reads_it(tmp_path: Path) -> None:
    assert read_preprocessing(tmp_path).max_num_patches == 256
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"max_num_patches": 100, "unknown": 1}))
    assert read_preprocessing(tmp_path).max_num_patches == 100
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Siglip2Processor"}))
    assert read_preprocessing(tmp_path).max_num_patches == 100
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {"max_num_patches": 64}}))
    assert read_preprocessing(tmp_path).max_num_patches == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"resample": 5}, "resample"),
        ({"max_num_patches": 10**6}, "max_num_patches"),
        ({"size": {"shortest_edge": 224}}, "size.height"),
    ],
)
def test_preprocessing_of_another_kind_is_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(QpertError, match=message):
        read_preprocessing(tmp_path)

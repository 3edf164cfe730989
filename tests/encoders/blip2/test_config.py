"""BLIP-2 folders, hub repositories and LAVIS checkpoints: nothing in their files leads to code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.encoders import check_encoder, load_encoder
from pipeline.encoders.blip2 import weights as blip2_weights
from pipeline.encoders.blip2.config import read_blip2_config
from pipeline.errors import QpertError
from tests.encoders.blip2.tiny_blip2 import write_folder
from tests.encoders.hostile import AUTO_MAP, change_json, plant


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(write_folder(tmp_path / "hf"))


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("config.json", {"auto_map": AUTO_MAP}, "auto_map"),
    ("config.json", {"text_config": {"trust_remote_code": True}}, r"text_config\.trust_remote_code"),
    ("config.json", {"quantization_config": {"quant_method": "x"}}, "quantization_config"),
    ("config.json", {"_attn_implementation": "org/kernel"}, "_attn_implementation"),
    ("config.json", {"num_query_tokens": 10**9}, "num_query_tokens"),
    ("config.json", {"num_query_tokens": "6"}, "num_query_tokens"),
    ("config.json", {"vision_config": {"hidden_act": "eval"}}, r"vision_config\.hidden_act"),
    ("config.json", {"qformer_config": {"num_hidden_layers": 10**6}}, r"qformer_config\.num_hidden_layers"),
    ("config.json", {"vision_config": []}, "vision_config"),
    ("tokenizer_config.json", {"auto_map": AUTO_MAP}, "auto_map"),
    ("tokenizer_config.json", {"tokenizer_class": "Tokenizer"}, "tokenizer_class 'Tokenizer'"),
    ("tokenizer_config.json", {"tokenizer_class": ["evil"]}, "tokenizer_class"),
    ("tokenizer_config.json", {"init_inputs": ["/etc/passwd"]}, "init_inputs"),
    ("tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "vocab_file"),
    ("tokenizer_config.json", {"tokenizer_file": "/etc/passwd"}, "tokenizer_file"),
    ("special_tokens_map.json", {"trust_remote_code": True}, "trust_remote_code"),
    ("processor_config.json", {"auto_map": AUTO_MAP}, "auto_map"),
    ("preprocessor_config.json", {"custom_code": "evil.py"}, "custom_code"),
    ("generation_config.json", {"custom_generate": "evil"}, "custom_generate"),
    ("generation_config.json", {"num_beams": 10**6}, "num_beams"),
    ("adapter_config.json", {"base_model_name_or_path": "org/model"}, "adapter_config"),
    ("model.safetensors.index.json", {"weight_map": {"w": "pytorch_model.bin"}}, r"pytorch_model\.bin"),
]


@pytest.mark.parametrize(("file", "values", "message"), HOSTILE)
def test_keys_that_lead_elsewhere_are_refused_by_name(folder: Path, file: str, values: Any, message: str) -> None:
    ran = plant(folder)
    change_json(folder / file, lambda found: found.update(values))
    with pytest.raises(QpertError, match=message):
        load_encoder("blip2", weights=str(folder))
    assert not ran.exists()


def test_pickled_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(QpertError, match=r"pytorch_model\.bin is not opened: pickles"):
        check_encoder("blip2", str(folder))


def test_hub_repositories_pass_the_same_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[str] = []

    def fetch(name: str, asked: list[str], what: str) -> Path:
        patterns.extend(asked)
        return folder

    monkeypatch.setattr(blip2_weights, "fetch", fetch)
    assert load_encoder("blip2", weights="org/name").dim == 16
    assert all(pattern.endswith((".json", ".safetensors", ".txt")) for pattern in patterns)
    ran = plant(folder)
    change_json(folder / "config.json", lambda values: values.update(auto_map=AUTO_MAP))
    with pytest.raises(QpertError, match="auto_map"):
        load_encoder("blip2", weights="org/name")
    assert not ran.exists()


def test_published_configurations_keep_their_sizes_and_lose_the_rest(folder: Path) -> None:
    path = folder / "config.json"
    change_json(
        path, lambda values: values.update(text_config={"model_type": "opt", "hidden_size": 2560}, torchscript=1)
    )
    found = read_blip2_config(path)
    said = json.loads(path.read_text())
    for part in ("vision_config", "qformer_config"):
        for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            assert getattr(getattr(found, part), key) == said[part][key]
    assert found.num_query_tokens == said["num_query_tokens"]
    assert found.text_config.hidden_size != 2560


@pytest.mark.parametrize("values", [{"heads": 10**9}, {"heads": True}, {"depth": 3}, {"trust_remote_code": True}])
def test_a_list_of_heads_holds_two_numbers(tmp_path: Path, values: dict[str, Any]) -> None:
    from tests.encoders.blip2.test_weights import lavis_names

    path = tmp_path / "blip2.pth"
    torch.save({"model": lavis_names()}, path)
    Path(f"{path}.json").write_text(json.dumps(values))
    with pytest.raises(QpertError, match=next(iter(values))):
        load_encoder("blip2", weights=str(path))


def test_tokenizers_beside_a_lavis_checkpoint_are_checked(tmp_path: Path) -> None:
    from tests.encoders.blip2.test_weights import lavis_names
    from tests.encoders.blip2.tiny_blip2 import tokenizer

    folder = tmp_path / "lavis"
    folder.mkdir()
    tokenizer(folder)
    path = folder / "blip2.pth"
    torch.save({"model": lavis_names()}, path)
    Path(f"{path}.json").write_text(json.dumps({"vision_heads": 2, "heads": 2}))
    load_encoder("blip2", weights=str(path))
    ran = plant(folder)
    change_json(folder / "tokenizer_config.json", lambda values: values.update(auto_map=AUTO_MAP))
    with pytest.raises(QpertError, match="auto_map"):
        load_encoder("blip2", weights=str(path))
    assert not ran.exists()

"""Safe reading of model folders: keys that lead to code are refused by name, at any depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.io.model_files import (
    CODE_KEYS,
    LARGEST_JSON,
    PICKLES,
    check_configurations,
    check_shards,
    read_json,
    refuse_pickles,
)


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("key", sorted(CODE_KEYS))
@pytest.mark.parametrize("value", [True, False, "x", {"AutoModel": "evil.Model"}])
def test_keys_that_lead_to_code_are_named_at_any_depth(tmp_path: Path, key: str, value: Any) -> None:
    for values in ({key: value}, {"a": {"b": [1, {key: value}]}}, {"a": [[{key: value}]]}):
        with pytest.raises(QpertError, match=key):
            read_json(write(tmp_path / "config.json", values))


def test_a_kernel_from_the_hub_is_refused_but_a_plain_attention_is_not(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert read_json(write(path, {"attn_implementation": "sdpa"})) == {"attn_implementation": "sdpa"}
    with pytest.raises(QpertError, match="kernel from the hub"):
        read_json(write(path, {"vision_config": {"_attn_implementation": "someone/kernel"}}))


def test_only_a_known_auto_map_is_ignored(tmp_path: Path) -> None:
    known = {"AutoModel": "modeling_known.Known", "AutoConfig": "configuration_known.Known"}
    path = tmp_path / "config.json"
    for values in (known, {"AutoModel": known["AutoModel"]}):
        read_json(write(path, {"auto_map": values}), known=known)
    for values in ({"AutoModel": "other.Known"}, {**known, "AutoTokenizer": "x.Y"}, "modeling_known.Known", [known]):
        with pytest.raises(QpertError, match="auto_map"):
            read_json(write(path, {"auto_map": values}), known=known)


@pytest.mark.parametrize("text", ["", "{", "[]", '"a"', "[" * 200_000, '{"a": ' * 100_000, "\x00", "NaN"])
def test_anything_but_a_json_object_is_a_value_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_json(path)


def test_a_huge_configuration_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(ValueError, match="not a configuration"):
        read_json(path)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"]
)
def test_every_configuration_of_a_folder_is_checked(tmp_path: Path, name: str) -> None:
    check_configurations(tmp_path)
    write(tmp_path / name, {"auto_map": {"AutoProcessor": "evil.Processor"}})
    with pytest.raises(QpertError, match=rf"{name}.*auto_map"):
        check_configurations(tmp_path)


def test_an_adapter_is_refused_because_it_leads_to_another_model(tmp_path: Path) -> None:
    write(tmp_path / "adapter_config.json", {})
    with pytest.raises(QpertError, match=r"adapter_config\.json"):
        check_configurations(tmp_path)


@pytest.mark.parametrize("suffix", PICKLES)
def test_pickles_are_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"weights{suffix}").touch()
    with pytest.raises(QpertError, match=rf"weights{suffix} is not opened: pickles"):
        refuse_pickles(tmp_path, "model.safetensors")
    (tmp_path / "model.safetensors").touch()
    refuse_pickles(tmp_path, "model.safetensors")


@pytest.mark.parametrize("name", ["a.bin", "../a.safetensors", "/a.safetensors", "b/a.safetensors", 3, "a.pt"])
def test_shards_must_be_safetensors_beside_their_index(tmp_path: Path, name: object) -> None:
    index = write(tmp_path / "model.safetensors.index.json", {"weight_map": {"w": name}})
    with pytest.raises(QpertError, match=r"only \.safetensors files beside it"):
        check_shards(index)
    assert check_shards(write(index, {"weight_map": {"w": "a.safetensors"}})) == {"w": "a.safetensors"}

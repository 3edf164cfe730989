"""Opening InternVL-14B's weights in their published form: sharded, in half precision, under the published names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.encoders import InternVLConfig, InternVLEncoder, build_internvl, check_encoder, load_encoder
from pipeline.encoders.internvl import weights as internvl_weights
from pipeline.encoders.internvl.weights import load_weights
from pipeline.errors import QpertError
from tests.encoders.internvl.tiny_internvl import SMALL, build, some_pixels, write_folder, write_words

CPU = torch.device("cpu")


def published_names(vision_layers: int = 48, layers: int = 32) -> set[str]:
    """Every name in OpenGVLab/InternVL-14B-224px, written out independently of the modules."""
    names = {"query_tokens", "text_projection", "logit_scale", "itm_head.weight", "itm_head.bias"}
    names |= {"vision_model.embeddings.class_embedding", "vision_model.embeddings.position_embedding"}
    names |= {f"vision_model.embeddings.patch_embedding.{part}" for part in ("weight", "bias")}
    for layer in range(vision_layers):
        block = f"vision_model.encoder.layers.{layer}"
        names |= {f"{block}.{part}" for part in ("ls1", "ls2", "norm1.weight", "norm2.weight", "attn.qkv.weight")}
        names |= {f"{block}.attn.{part}" for part in ("q_norm.weight", "k_norm.weight", "proj.weight", "proj.bias")}
        names |= {f"{block}.mlp.{linear}.{part}" for linear in ("fc1", "fc2") for part in ("weight", "bias")}
    for layer in range(layers):
        block = f"qllama.model.layers.{layer}"
        names |= {f"{block}.self_attn.{part}_proj.weight" for part in "qkvo"}
        names |= {f"{block}.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
        names |= {f"{block}.{part}_layernorm.weight" for part in ("input", "post_attention")}
        if layer % 2 == 0:
            names |= {f"{block}.cross_attn.{part}_proj.weight" for part in "qkvo"}
            names |= {f"{block}.cross_attn.norm{which}.weight" for which in (1, 2)}
    names |= {"qllama.model.embed_tokens.weight", "qllama.model.norm.weight", "qllama.lm_head.weight"}
    for projector in ("clip_projector", "clip_projector2"):
        names |= {f"{projector}.norm1_{which}.{part}" for which in "qkv" for part in ("weight", "bias")}
        names |= {f"{projector}.cross_attn.{which}.weight" for which in "qkv"}
        names |= {f"{projector}.cross_attn.{which}_bias" for which in "qkv"}
        names |= {f"{projector}.cross_attn.proj.{part}" for part in ("weight", "bias")}
    return names


THIN = {
    "vision_config": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 48},
    "qllama_config": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 32},
    "clip_embed_dim": 8,
    "attn_pool_num_heads": 2,
}
"""All layers of the published model, reduced in width only."""


def test_a_checkpoint_with_the_published_names_opens(tmp_path: Path) -> None:
    config = json.loads(json.dumps(THIN))
    config["qllama_config"]["vocab_size"] = 100
    folder = write_folder(tmp_path, config, shards=6)
    listed = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(listed) == published_names()
    assert len(set(listed.values())) == 6
    encoder = load_encoder("internvl", weights=folder, dtype="bfloat16")
    assert isinstance(encoder, InternVLEncoder)
    assert len(encoder.sites()) == 17
    assert encoder.dtype == torch.bfloat16
    assert encoder.dim == 8
    state, saved = encoder.model.state_dict(), {}
    for path in tmp_path.glob("*.safetensors"):
        saved |= load_file(path)
    assert all(torch.equal(state[name], value) and state[name].dtype == torch.bfloat16 for name, value in saved.items())
    assert encoder.embed(encoder.backbone(torch.randn(1, 3, 224, 224))).shape == (1, 1, 8)
    assert encoder.embed_text(["a red dog"]).isfinite().all()


def test_each_published_weight_is_used() -> None:
    """Every weight changes the results, except the two heads, the temperature, and biases that a softmax cancels."""
    model = build()
    vector = torch.randn(48, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(100)[None]
    tokens = model.vision_model(some_pixels())
    total = (model.embed_g(tokens) @ vector).sum() + (model.embed_text(ids, ids >= 0) @ vector).sum()
    total.backward()
    unused = {name for name, value in model.named_parameters() if value.grad is None or value.grad.abs().max() < 1e-6}
    same_for_all_keys = {
        f"clip_projector{which}.{part}" for which in ("", "2") for part in ("cross_attn.k_bias", "norm1_k.bias")
    }
    assert unused == {"logit_scale", "itm_head.weight", "itm_head.bias", "qllama.lm_head.weight"} | same_for_all_keys
    assert {*model.state_dict()} == published_names(3, 8)


def test_fine_tuned_size(tmp_path: Path) -> None:
    """If force_image_size is set, the position embeddings were saved for that size."""
    folder = write_folder(tmp_path, {**SMALL, "force_image_size": 84})
    encoder = load_encoder("internvl-c", weights=folder)
    assert encoder.grid.image_size == 84
    assert encoder.grid.tokens == 37
    assert encoder.preprocess(Image.new("RGB", (9, 5))).shape == (3, 84, 84)


def test_one_file_and_another_dtype_give_the_same_weights(tmp_path: Path) -> None:
    write_folder(tmp_path, shards=1, dtype=torch.float16)
    (tmp_path / "model-00001-of-00001.safetensors").rename(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").unlink()
    encoder = load_encoder("internvl", weights=str(tmp_path))
    assert encoder.dtype == torch.float32
    expected = InternVLEncoder.from_model(build().half().float())
    tokens = encoder.backbone(some_pixels())
    torch.testing.assert_close(encoder.embed(tokens), expected.embed(tokens), atol=1e-6, rtol=0)


def test_weights_of_the_stored_dtype_stay_in_the_mapped_file(tmp_path: Path) -> None:
    """No copy is made: all processes of a machine share the pages. (Another dtype needs a copy.)"""
    write_folder(tmp_path)
    model, *_ = load_weights(str(tmp_path), CPU, torch.bfloat16)
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [[int(edge, 16) for edge in line.split()[0].split("-")] for line in maps if str(tmp_path) in line]
    places = [value.data_ptr() for value in model.state_dict().values()]
    assert places
    assert all(any(low <= place < high for low, high in mapped) for place in places)


def change_index(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Replace the shards by one file with changed weights."""
    state: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        state |= load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("query_tokens"), "1 weights are missing, such as query_tokens"),
        (lambda state: state.update(other=torch.zeros(1)), "1 weights are unknown, such as other"),
        (lambda state: state.update(query_tokens=torch.zeros(1, 5, 128)), "of another shape, such as query_tokens"),
        (
            lambda state: state.update({"qllama.base_model.model.layers.0.lora_A.weight": torch.zeros(1)}),
            r"unknown, such as qllama.base_model",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: Callable[..., object], message: str) -> None:
    folder = write_folder(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(QpertError, match=re.escape(str(tmp_path)) + ".*" + message):
        load_encoder("internvl", weights=folder)


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    def refused(message: str, folder: Path = tmp_path) -> None:
        with pytest.raises(QpertError, match=message):
            check_encoder("internvl", str(folder))

    refused("has no config.json")
    write_folder(tmp_path)
    check_encoder("internvl", str(tmp_path))
    check_encoder("internvl-c", str(tmp_path))
    second = tmp_path / "model-00002-of-00003.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    refused("cannot be read")
    second.unlink()
    refused(r"model-00002-of-00003.safetensors is missing: .*lists it with \d+ weights")
    second.write_bytes(whole)
    change_index(tmp_path, lambda where: where.pop("query_tokens"))
    refused("do not agree, about query_tokens")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused("cannot be read")
    (tmp_path / "model.safetensors.index.json").unlink()
    refused("neither model.safetensors nor model.safetensors.index.json")
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}')
    refused("not of an InternVL-14B")
    (tmp_path / "config.json").write_text("[")
    refused("config.json cannot be read")


@pytest.mark.parametrize("weights", ["InternVL", "./nowhere", "/no/where", "a/b/c"])
def test_invalid_names_are_refused(weights: str) -> None:
    with pytest.raises(QpertError, match="is not a folder or a hub id"):
        check_encoder("internvl", weights)


def test_hub_ids_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only weights, configuration and tokenizer are downloaded, never code."""
    folder = write_folder(tmp_path)
    asked: list[object] = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return folder

    monkeypatch.setattr(internvl_weights, "download_snapshot", fetch)
    assert load_encoder("internvl", weights="OpenGVLab/InternVL-14B-224px", dtype="bfloat16").dim == 48
    assert asked == [("OpenGVLab/InternVL-14B-224px", ["*.safetensors", "*.json", "tokenizer.model"])]


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, **_: object) -> str:
        raise OSError("no network\nand more")

    monkeypatch.setattr(internvl_weights, "download_snapshot", fetch)
    with pytest.raises(QpertError, match=r"could not be loaded: no network\. Without a network, download"):
        load_encoder("internvl", weights="OpenGVLab/InternVL-14B-224px", dtype="bfloat16")


def test_tokenizers_of_other_models_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    write_words(tmp_path / "tokenizer.model", 140)
    with pytest.raises(QpertError, match=r"has 140 words.*the model has 100.*tokenizer.model"):
        load_encoder("internvl", weights=folder)
    (tmp_path / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(QpertError, match=r"tokenizer in .* cannot be loaded"):
        load_encoder("internvl", weights=folder)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(QpertError, match="tokenizer"):
        load_encoder("internvl", weights=folder)


def test_published_configurations_are_read() -> None:
    """Including all the other keys of a config.json by transformers."""
    published = {
        "model_type": "internvl", "torch_dtype": "float16", "label_smoothing": 0.0, "use_backbone_lora": 0,
        "use_qllama_lora": 0, "force_image_size": 364, "clip_embed_dim": 768, "attn_pool_num_heads": 16,
        "num_query_token": 96, "cross_attention_frequency": 2, "initializer_range": 0.02,
        "vision_config": {"hidden_size": 3200, "num_hidden_layers": 48, "use_flash_attn": True, "drop_path_rate": 0.0},
        "qllama_config": {"vocab_size": 49954, "rope_theta": 10000.0, "architectures": ["LlamaForCausalLM"]},
    }  # fmt: skip
    config = InternVLConfig.from_dict(published)
    assert config == InternVLConfig(force_image_size=364)
    assert config.image_tokens == 677
    assert build_internvl(InternVLConfig.from_dict(SMALL)).config.num_query_token == 96

"""Loading BLIP-2: folders and LAVIS checkpoints load completely, and nothing else loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.encoders import check_encoder, load_encoder
from pipeline.encoders.blip2.encoder import Blip2Encoder
from pipeline.encoders.blip2.weights import load_weights
from pipeline.errors import QpertError
from tests.encoders.blip2.tiny_blip2 import build, head_state, tokenizer, write_folder

TEXTS = ["a small red star", "two dogs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(write_folder(tmp_path / "hf"))


def lavis_names(prefix: str = "") -> dict[str, Tensor]:
    """The tiny model under LAVIS' names, written by hand: the reverse of the code's direction."""
    source = build().state_dict()
    pairs: dict[str, Tensor] = {}
    for name, value in source.items():
        for ours, theirs in (
            ("vision_projection.", "vision_proj."),
            ("text_projection.", "text_proj."),
            ("vision_model.post_layernorm.", "ln_vision."),
            ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
            ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
            ("vision_model.embeddings.patch_embedding.", "visual_encoder.patch_embed.proj."),
            ("vision_model.encoder.layers.", "visual_encoder.blocks."),
            ("embeddings.word_embeddings.", "Qformer.bert.embeddings.word_embeddings."),
            ("embeddings.position_embeddings.", "Qformer.bert.embeddings.position_embeddings."),
            ("qformer.layernorm.", "Qformer.bert.embeddings.LayerNorm."),
            ("qformer.encoder.", "Qformer.bert.encoder."),
        ):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
                break
        name = name.replace("layer_norm", "norm").replace("self_attn.projection", "attn.proj")
        name = name.replace("self_attn.", "attn.").replace("attention.attention.", "attention.self.")
        if name.endswith("attn.qkv.bias"):
            q, _, v = value.chunk(3)
            pairs[name.replace("qkv.bias", "q_bias")], pairs[name.replace("qkv.bias", "v_bias")] = q, v
        else:
            pairs[name] = value
    pairs |= head_state(build(), "Qformer.cls.predictions.")
    pairs["Qformer.cls.predictions.decoder.weight"] = pairs["Qformer.bert.embeddings.word_embeddings.weight"]
    return pairs | {
        "temp": torch.tensor(0.07),
        "Qformer.bert.embeddings.position_ids": torch.arange(40)[None],
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "lavis" / "blip2.pth"
    path.parent.mkdir()
    tokenizer(path.parent)
    Path(f"{path}.json").write_text(json.dumps({"vision_heads": 2, "heads": 2}))
    torch.save({"model": lavis_names(), "epoch": 1}, path)
    return path


def without_key_bias() -> Blip2Encoder:
    """The reference, without biases of keys: they shift all scores of a query equally, and LAVIS' towers have none."""
    model = build()
    for layer in model.vision_model.encoder.layers:
        layer.self_attn.qkv.bias.data.chunk(3)[1].zero_()
    return Blip2Encoder.from_model(model)


@torch.no_grad()
def test_a_saved_folder_opens_unchanged(folder: Path) -> None:
    encoder = load_encoder("blip2", weights=str(folder))
    pixels = torch.randn(2, 3, 56, 56)
    reference = Blip2Encoder.from_model(build(), encoder.tokenizer, head_state(build()))  # type: ignore[attr-defined]
    tokens = encoder.backbone(pixels)
    assert torch.equal(tokens, reference.backbone(pixels))
    assert torch.equal(encoder.embed(tokens), reference.embed(tokens))
    assert torch.equal(encoder.match(tokens, TEXTS), reference.match(tokens, TEXTS))
    assert encoder.caption(tokens) == reference.caption(tokens)
    assert encoder.tokenizer.bos_token_id == 14  # type: ignore[attr-defined]
    (folder / "generation_config.json").write_text('{"max_length": 5, "min_length": 2, "num_beams": 1}')
    short = load_encoder("blip2", weights=str(folder))
    assert all(len(text.split()) <= 4 for text in short.caption(tokens))
    assert load_encoder("blip2", weights=str(folder), dtype="bfloat16").backbone(pixels).dtype == torch.bfloat16


@torch.no_grad()
def test_lavis_checkpoints_are_converted_completely(checkpoint: Path) -> None:
    encoder = load_encoder("blip2", weights=str(checkpoint))
    reference = without_key_bias()
    pixels = torch.randn(2, 3, 56, 56)
    tokens = encoder.backbone(pixels)
    torch.testing.assert_close(tokens, reference.backbone(pixels), atol=1e-4, rtol=0)  # eps of the last LayerNorm
    torch.testing.assert_close(encoder.embed(tokens), reference.embed(tokens), atol=1e-6, rtol=0)
    ids = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder.match(tokens, TEXTS), reference.match(tokens, input_ids=ids), atol=1e-5, rtol=0)
    assert len(encoder.caption(tokens)) == 2
    assert encoder.model.vision_model.post_layernorm.eps == 1e-5  # type: ignore[attr-defined]


def test_every_weight_is_accounted_for(checkpoint: Path) -> None:
    state = lavis_names()
    for change, message in (
        (
            {"visual_encoder.blocks.0.rope": torch.zeros(1)},
            "1 weights that BLIP-2 does not have, such as visual_encoder.blocks.0.rope",
        ),
        ({"visual_encoder.blocks.0.mlp.fc2.bias": None}, "not a whole BLIP-2: 1 weights .* vision_model.*fc2.bias"),
        ({"text_proj.bias": torch.zeros(3)}, "not a whole BLIP-2: 1 weights .* text_projection.bias"),
        (
            {"Qformer.cls.predictions.transform.dense.bias": None},
            "not the language head of this model: transform.dense.bias",
        ),
        ({"Qformer.cls.predictions.decoder.weight": torch.zeros(15, 32)}, "they are of two models"),
    ):
        changed = {name: value for name, value in (state | change).items() if value is not None}
        torch.save({"model": changed}, checkpoint)
        with pytest.raises(QpertError, match=message):
            load_encoder("blip2", weights=str(checkpoint))


def test_retrieval_works_without_a_language_head(checkpoint: Path) -> None:
    torch.save({"model": {n: v for n, v in lavis_names().items() if "predictions" not in n}}, checkpoint)
    encoder = load_encoder("blip2", weights=str(checkpoint))
    assert encoder.embed_text(["a dog"]).shape == (1, 16)
    with pytest.raises(QpertError, match=r"no language head"):
        encoder.caption(torch.zeros(1, 17, 24))


@torch.no_grad()
def test_the_vision_tower_can_come_from_another_file(checkpoint: Path) -> None:
    whole = load_weights(str(checkpoint)).model.state_dict()
    state = lavis_names()
    vision = {n.removeprefix("visual_encoder."): v for n, v in state.items() if n.startswith("visual_encoder.")}
    torch.save({"model": {n: v for n, v in state.items() if not n.startswith("visual_encoder.")}}, checkpoint)
    with pytest.raises(QpertError, match=r"without its vision tower.*\+eva_vit_g.pth"):
        load_encoder("blip2", weights=str(checkpoint))
    other = checkpoint.with_name("eva.pth")
    torch.save({name: value.half() for name, value in vision.items()} | {"head.weight": torch.zeros(2)}, other)
    found = load_weights(f"{checkpoint}+{other}").model.state_dict()
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_folder_takes_its_language_head_from_a_lavis_checkpoint(folder: Path, checkpoint: Path) -> None:
    tokens = torch.randn(2, 17, 24)
    want = load_encoder("blip2", weights=str(folder)).caption(tokens)
    (folder / "language_head.safetensors").unlink()
    assert load_encoder("blip2", weights=f"{folder}+{checkpoint}").caption(tokens) == want
    torch.save({"model": {"temp": torch.zeros(1)}}, checkpoint)
    with pytest.raises(QpertError, match=r"holds no language head"):
        load_encoder("blip2", weights=f"{folder}+{checkpoint}")


class Code:
    """Unpickling it would run this code."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code has run",)


def test_code_in_a_checkpoint_is_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": lavis_names(), "config": Code()}, checkpoint)
    with pytest.raises(QpertError, match=r"was refused, as opening it could run code"):
        load_encoder("blip2", weights=str(checkpoint))
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("/nowhere/blip2.pth", "there is no file /nowhere/blip2.pth"),
        ("nonsense", "not a folder, a .pth file or a hub id"),
        ("../up/down", "not a folder, a .pth file or a hub id"),
        ("Salesforce/blip2-itm-vit-g+/nowhere/head.pth", "there is no file /nowhere/head.pth"),
        ("Salesforce/blip2-itm-vit-g+head.bin", "must be a .pth file"),
    ],
)
def test_missing_weights_are_reported_before_any_work(weights: str, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        check_encoder("blip2", weights)


def test_damaged_and_foreign_weights_are_refused(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    check_encoder("blip2", "Salesforce/blip2-itm-vit-g-coco")
    (tmp_path / "empty").mkdir()
    with pytest.raises(QpertError, match=r"has no config.json"):
        check_encoder("blip2", str(tmp_path / "empty"))
    Path(f"{checkpoint}.json").unlink()
    with pytest.raises(QpertError, match=r"how many heads it has cannot be told.*vision_heads"):
        load_encoder("blip2", weights=str(checkpoint))
    for content, message in (
        (b"", "is not a checkpoint: the file is empty"),
        (b"some text", "is not a checkpoint: it holds something else"),
        (b"PK\x03\x04 but no zip", "cannot be opened as a checkpoint|was refused"),
        (b"\x80\x02 but no pickle", "cannot be opened as a checkpoint|was refused"),
    ):
        checkpoint.write_bytes(content)
        with pytest.raises(QpertError, match=message):
            load_encoder("blip2", weights=str(checkpoint))
    torch.save({"weight": torch.zeros(2)}, checkpoint)
    with pytest.raises(QpertError, match=r"holds no BLIP-2"):
        load_encoder("blip2", weights=str(checkpoint))
    config = json.loads((folder / "config.json").read_text())
    config["qformer_config"]["num_hidden_layers"] = 6
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(QpertError, match=r"not a whole BLIP-2 for retrieval: .* missing"):
        load_encoder("blip2", weights=str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(QpertError, match=r"could not be loaded"):
        load_encoder("blip2", weights=str(folder))


def test_tokenizers_of_other_models_are_refused(folder: Path, checkpoint: Path) -> None:
    """transformers would make an empty tokenizer if its files are missing, and every word unknown."""
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(QpertError, match=r"the tokenizer of .* has \d+ words, but the model 15|could not be loaded"):
        load_encoder("blip2", weights=str(folder))
    words = (checkpoint.parent / "vocab.txt").read_text().splitlines()
    for changed in (words[:-3], [*words, "one", "more", "than", "fits"]):
        (checkpoint.parent / "vocab.txt").write_text("\n".join(changed) + "\n")
        with pytest.raises(QpertError, match="words, but the model 15"):
            load_encoder("blip2", weights=str(checkpoint))


@pytest.mark.parametrize(
    "missing", ["vision_proj.weight", "visual_encoder.pos_embed", "visual_encoder.blocks.1.attn.v_bias"]
)
def test_incomplete_checkpoints_are_reported(checkpoint: Path, missing: str) -> None:
    torch.save({"model": {name: value for name, value in lavis_names().items() if name != missing}}, checkpoint)
    with pytest.raises(QpertError, match=r"not a whole BLIP-2|BLIP-2 does not have"):
        load_encoder("blip2", weights=str(checkpoint))


@pytest.mark.parametrize("text", ["{", "[]", '{"heads": "two", "vision_heads": 2}'])
def test_invalid_lists_of_heads_are_reported(checkpoint: Path, text: str) -> None:
    Path(f"{checkpoint}.json").write_text(text)
    with pytest.raises(QpertError, match=r"blip2.pth.json"):
        load_encoder("blip2", weights=str(checkpoint))


def test_torchs_old_format_opens_and_damaged_files_are_refused(folder: Path, checkpoint: Path) -> None:
    torch.save({"model": lavis_names()}, checkpoint, _use_new_zipfile_serialization=False)
    assert load_encoder("blip2", weights=str(checkpoint)).dim == 16
    (folder / "language_head.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(QpertError, match=r"language_head.safetensors cannot be opened"):
        load_encoder("blip2", weights=str(folder))
    (folder / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(QpertError, match="could not be loaded"):
        load_encoder("blip2", weights=str(folder))


def test_a_second_vision_tower_is_refused(checkpoint: Path) -> None:
    other = checkpoint.with_name("eva.pth")
    torch.save({"nonsense": torch.zeros(1)}, other)
    with pytest.raises(QpertError, match=r"has a vision tower of its own; leave \+"):
        load_encoder("blip2", weights=f"{checkpoint}+{other}")

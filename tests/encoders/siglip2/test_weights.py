"""SigLIP folders: opened unchanged, or refused with what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Siglip2Processor

from pipeline.encoders import check_encoder, load_encoder
from pipeline.encoders.siglip2.encoder import SiglipEncoder
from pipeline.encoders.siglip2.text_inputs import read_tokenizer
from pipeline.errors import QpertError
from tests.encoders.hostile import AUTO_MAP, change_json, plant
from tests.encoders.siglip2 import tiny_siglip
from tests.encoders.siglip2.test_encoder import BOTH, encoder_of, images, stacked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(tiny_siglip.write_folder(tmp_path / "siglip", native=True))


@BOTH
@torch.no_grad()
def test_a_saved_folder_opens_unchanged(native: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tiny_siglip.write_folder(tmp_path, native)
    capfd.readouterr()
    encoder: Any = load_encoder("siglip2", weights=folder)
    assert capfd.readouterr().err == ""
    assert isinstance(encoder, SiglipEncoder)
    reference = encoder_of(tiny_siglip.build(native))
    pixels = stacked(encoder, images())
    assert torch.equal(pixels, stacked(reference, images()))
    tokens = encoder.backbone(pixels)
    assert torch.equal(tokens, reference.backbone(pixels))
    assert torch.equal(encoder.embed(tokens), reference.embed(tokens))
    texts = ["a red dog", "A Red Dog"]
    vectors = encoder.embed_text(texts)
    torch.testing.assert_close(vectors[0], vectors[1])
    ids = encoder.tokenizer(texts, padding="max_length", max_length=tiny_siglip.LENGTH, return_tensors="pt")
    assert torch.equal(vectors, reference.embed_text(input_ids=ids["input_ids"]))
    assert encoder.read_texts(["dog " * 40]).cut == [True]
    half: Any = load_encoder("siglip2", weights=folder, dtype="bfloat16")
    assert half.backbone(pixels).dtype == torch.bfloat16
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}


@torch.no_grad()
def test_folders_as_processors_save_them(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    processor = Siglip2Processor(tiny_siglip.image_processor(native=True), read_tokenizer(folder, native=True))
    processor.save_pretrained(folder)
    assert (folder / "processor_config.json").is_file()
    encoder = load_encoder("siglip2", weights=str(folder))
    assert encoder.grid.tokens == tiny_siglip.MOST


def test_incomplete_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    for name, message in (
        ("config.json", "no config.json"),
        ("model.safetensors", "could not be loaded"),
        ("tokenizer.json", "no tokenizer"),
    ):
        broken = tmp_path / name.replace(".", "-")
        shutil.copytree(folder, broken)
        (broken / name).unlink()
        with pytest.raises(QpertError, match=message):
            load_encoder("siglip2", weights=str(broken))
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(QpertError, match=r"pytorch_model.bin is not opened"):
        check_encoder("siglip2", str(folder))


def test_preprocessing_of_another_model_is_refused_before_loading(folder: Path) -> None:
    change_json(folder / "preprocessor_config.json", lambda values: values.update(patch_size=16))
    with pytest.raises(QpertError, match="patches of 16 pixels, but this SigLIP takes 8"):
        check_encoder("siglip2", str(folder))


def test_every_weight_is_accounted_for(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    name = "vision_model.head.attention.in_proj_weight"
    for change, message in (
        ({"vision_model.extra": torch.zeros(1)}, "1 weights are .* such as vision_model.extra"),
        ({name: None}, f"not a whole SigLIP: 1 weights .* {name}"),
        ({name: torch.zeros(5, 24)}, f"not a whole SigLIP: 1 weights .* {name}"),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        save_file(changed, path, metadata={"format": "pt"})
        with pytest.raises(QpertError, match=message):
            load_encoder("siglip2", weights=str(folder))


def test_a_configuration_much_larger_than_its_weights_takes_no_memory(folder: Path) -> None:
    change_json(folder / "config.json", lambda values: values["text_config"].update(vocab_size=2**20))
    with pytest.raises(QpertError, match=r"is of 25,\d{3},\d{3} numbers, its weights are \d\d,\d{3}$"):
        load_encoder("siglip2", weights=str(folder))


def test_a_damaged_folder_is_not_said_to_want_a_network(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(QpertError, match=r"could not be loaded: .*header too large$"):
        load_encoder("siglip2", weights=str(folder))


def test_code_is_never_run(folder: Path) -> None:
    ran = plant(folder)
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        original = (folder / name).read_text()
        change_json(folder / name, lambda values: values.update(auto_map=AUTO_MAP))
        with pytest.raises(QpertError, match="code from model folders is never run"):
            load_encoder("siglip2", weights=str(folder))
        (folder / name).write_text(original)
    assert not ran.exists()


def test_other_vocabularies_are_refused(folder: Path) -> None:
    change_json(folder / "config.json", lambda values: values["text_config"].update(vocab_size=100))
    with pytest.raises(QpertError, match=r"not a whole SigLIP: 1 weights .*token_embedding\.weight"):
        load_encoder("siglip2", weights=str(folder))
    smaller = tiny_siglip.build(native=True)
    smaller.text_model.embeddings.token_embedding = torch.nn.Embedding(100, 24)
    save_file(smaller.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QpertError, match=r"has 3\d\d words, but the model 100"):
        load_encoder("siglip2", weights=str(folder))


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(QpertError, match=r"not a folder or a hub id; .*naflex"):
        check_encoder("siglip2", "siglip2-base")
    with pytest.raises(QpertError, match="no miniature: say which --weights"):
        check_encoder("siglip2", None)
    check_encoder("siglip2", "google/siglip2-base-patch16-naflex")


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, patterns: list[str], model: str) -> Path:
        assert {"config.json", "model*.safetensors", "spiece.model", "tokenizer.json"} <= {*patterns}
        raise QpertError(f"{model} weights {name!r} could not be loaded: we are offline")

    monkeypatch.setattr("pipeline.encoders.siglip2.weights.fetch", offline)
    with pytest.raises(QpertError, match="SigLIP weights 'google/siglip2-base-patch16-224' could not be loaded"):
        load_encoder("siglip2", weights="google/siglip2-base-patch16-224", dtype="bfloat16")

"""open_clip folders and hub repositories: sizes and switches are read, and anything that leads elsewhere is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from pipeline.encoders import check_encoder, encoder_spec, load_encoder
from pipeline.encoders.open_clip.config import ModelConfig
from pipeline.encoders.open_clip.library import build
from pipeline.errors import QpertError
from tests.encoders.hostile import AUTO_MAP, change_json, plant
from tests.encoders.open_clip.test_encoder import TINY


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: value.contiguous() for name, value in open_clip.CoCa(**TINY).state_dict().items()}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A CoCa with a tokenizer of transformers."""
    place = tmp_path / "coca"
    place.mkdir()
    config: dict[str, Any] = {"model_cfg": json.loads(json.dumps(TINY)), "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "org/words"
    (place / "open_clip_config.json").write_text(json.dumps(config))
    save_file(weights, place / "open_clip_model.safetensors")
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "[PAD]": 1, "a": 2, "star": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(place / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (place / "tokenizer_config.json").write_text(json.dumps(kind))
    return place


def set_text(values: dict[str, Any], **text: Any) -> None:
    values["model_cfg"]["text_cfg"].update(text)


@pytest.mark.parametrize(
    "name",
    [name for name in open_clip.list_models() if "hf_model_name" not in open_clip.get_model_config(name)["text_cfg"]],
)
def test_the_configurations_of_open_clip_itself_pass(name: str) -> None:
    config = open_clip.get_model_config(name)
    arguments = ModelConfig.of(config, name).arguments()
    assert arguments.keys() == config.keys() - {"custom_text"}
    assert "timm_model_pretrained" not in arguments["vision_cfg"]


def test_tokenizers_of_transformers_open(folder: Path) -> None:
    change_json(folder / "open_clip_config.json", lambda values: set_text(values, tokenizer_kwargs={"clean": "lower"}))
    encoder = load_encoder("coca", weights=str(folder))
    assert encoder.tokenizer(["A star"]).tolist() == [[2, 3] + [1] * 8]  # type: ignore[attr-defined]
    reading = encoder.read_texts(["a star " * 5, "a star " * 6])
    assert reading is not None
    assert (reading.limit, list(reading.cut)) == (10, [False, True])


HOSTILE: list[tuple[str, Any, str]] = [
    ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
    ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": False}}, "trust_remote_code"),
    ("text_cfg", {"tokenizer_kwargs": {"clean": "lower", "revision": "x"}}, r"tokenizer_kwargs\.revision"),
    ("text_cfg", {"tokenizer_kwargs": {"vocab_file": "/etc/passwd"}}, r"tokenizer_kwargs\.vocab_file"),
    ("text_cfg", {"tokenizer_kwargs": {"auto_map": AUTO_MAP}}, "auto_map"),
    ("text_cfg", {"hf_model_name": "FOLDER"}, "hf_model_name"),
    ("text_cfg", {"hf_model_name": "org/model", "hf_model_config": {"trust_remote_code": True}}, "trust_remote_code"),
    ("multimodal_cfg", {"hf_model_name": "org/model"}, r"multimodal_cfg\.hf_model_name"),
    ("vision_cfg", {"timm_model_name": "hf-hub:org/model"}, "timm_model_name"),
    ("vision_cfg", {"timm_model_name": "local-dir:FOLDER"}, "timm_model_name"),
    ("vision_cfg", {"custom_code": "evil.py"}, "custom_code"),
    ("vision_cfg", {"act_kwargs": {"approximate": "none"}}, "act_kwargs"),
    ("vision_cfg", {"layers": 10**9}, "layers"),
    ("vision_cfg", {"width": 10**9}, "width"),
    ("vision_cfg", {"width": "48"}, "width"),
    ("vision_cfg", {"layers": True}, "layers"),
    ("vision_cfg", {"image_size": [32]}, "image_size"),
    ("vision_cfg", {"patch_dropout": float("nan")}, "patch_dropout"),
    ("text_cfg", {"context_length": -1}, "context_length"),
    ("text_cfg", {"unknown": 1}, r"text_cfg\.unknown"),
]


@pytest.mark.parametrize(("tower", "values", "message"), HOSTILE)
def test_keys_that_lead_elsewhere_are_refused_by_name(folder: Path, tower: str, values: Any, message: str) -> None:
    """By the check before any work, the memory estimate and the loader; no code beside the model runs."""
    ran = plant(folder)
    values = json.loads(json.dumps(values).replace("FOLDER", str(folder)))
    change_json(folder / "open_clip_config.json", lambda found: found["model_cfg"][tower].update(values))
    change_json(folder / "tokenizer_config.json", lambda found: found.update(tokenizer_class="Tokenizer"))
    for action in (check_encoder, encoder_spec, lambda name, place: load_encoder(name, weights=place)):
        with pytest.raises(QpertError, match=message):
            action("coca", str(folder))
    assert not ran.exists()


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_an_auto_map_of_the_tokenizer_is_refused(folder: Path, file: str) -> None:
    ran = plant(folder)
    change_json(folder / file, lambda values: values.update(auto_map=AUTO_MAP))
    with pytest.raises(QpertError, match=rf"{file}.*auto_map"):
        load_encoder("coca", weights=str(folder))
    assert not ran.exists()


def test_pickled_weights_are_named(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(QpertError, match=r"open_clip_pytorch_model\.bin is not opened: pickles"):
        check_encoder("coca", str(folder))


@pytest.mark.parametrize("suffix", [".ckpt", ".pkl", ".npy", ".npz", ".joblib"])
def test_checkpoints_of_other_forms_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.touch()
    with pytest.raises(QpertError, match=rf"weights{suffix} is not opened"):
        load_encoder("coca", weights=f"coca_ViT-B-32:{path}")


def test_a_configuration_much_larger_than_its_weights_takes_no_memory(folder: Path) -> None:
    change_json(
        folder / "open_clip_config.json",
        lambda values: values["model_cfg"]["multimodal_cfg"].update(width=2048, layers=4, heads=8),
    )
    with pytest.raises(QpertError, match=r"configuration is of [\d,]+ numbers, its weights are"):
        load_encoder("coca", weights=str(folder))


def test_hub_repositories_pass_the_same_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configuration is downloaded before it has passed."""
    asked: list[str | None] = []

    def fetch(name: str, filename: str | None = None) -> str:
        assert name == "org/name"
        asked.append(filename)
        path = folder / (filename or "open_clip_model.safetensors")
        if not path.is_file():
            raise FileNotFoundError(path.name)
        return str(path)

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    assert load_encoder("coca", weights="hf-hub:org/name").dim == 24
    assert asked[0] == "open_clip_config.json"
    ran = plant(folder)
    change_json(
        folder / "open_clip_config.json",
        lambda values: set_text(values, tokenizer_kwargs={"trust_remote_code": True}),
    )
    asked.clear()
    with pytest.raises(QpertError, match="trust_remote_code"):
        load_encoder("coca", weights="hf-hub:org/name")
    assert asked == ["open_clip_config.json"]
    assert not ran.exists()


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:/etc", "hf-hub:../x", "hf-hub:a/b/c", "hf-hub:name"])
def test_invalid_repository_names_are_refused(name: str) -> None:
    with pytest.raises(QpertError, match="names no repository"):
        check_encoder("coca", name)


@pytest.mark.parametrize("name", ["coca_base", "coca_ViT-B-32", "coca_ViT-L-14"])
def test_published_configurations_pass_unchanged(name: str) -> None:
    published = open_clip.get_model_config(name)
    given = ModelConfig.of(published, name).arguments()
    assert given == {key: value for key, value in published.items() if key != "custom_text"}


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"timm_model_name": "vit_of_nobody"}, "timm has no tower 'vit_of_nobody'"),
        ({"timm_model_name": "test_vit", "timm_pool": "map"}, "attention pooling"),
        ({"timm_model_name": "../evil"}, "timm_model_name"),
        ({"timm_model_name": "test_vit", "timm_model_pretrained": "org/model"}, "timm_model_pretrained"),
    ],
)
def test_towers_of_timm_that_cannot_be_built_are_refused(tmp_path: Path, vision: Any, message: str) -> None:
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "custom_text": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(QpertError, match=message):
        load_encoder("open_clip", weights=str(tmp_path))


PLAIN: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 24, "layers": 1, "head_width": 12},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}
"""A CLIP without a tokenizer."""
SCENES = {"timm_model_name": "vit_scenes_patch16_112", "timm_pool": "map", "timm_proj": None}
UNPROJECTED = {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "none", "image_size": 64}


def save_model(folder: Path, config: dict[str, Any], **preprocessing: Any) -> str:
    """A folder with random weights for `config`."""
    torch.manual_seed(0)
    model = build(ModelConfig.of(config, "a test"))
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    values = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(values))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_cfg": {**SCENES, "image_size": 128}}, r"Input height \(128\) doesn't match model \(112\)"),
        ({"vision_cfg": UNPROJECTED, "embed_dim": 24}, "its photos have 64 numbers, its texts 24"),
        ({"text_cfg": {**PLAIN["text_cfg"], "output_tokens": True}, "custom_text": True}, "output_tokens"),
    ],
    ids=["image size", "width", "tokens of texts"],
)
def test_models_that_embed_no_photos_and_texts_alike_are_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        load_encoder("open_clip", weights=save_model(tmp_path, PLAIN | changes))


@pytest.mark.parametrize(
    ("vision", "text", "preprocessing", "key"),
    [
        ({"image_size": 2**20}, {}, {}, "image_size"),
        ({}, {"context_length": 20_000}, {}, "context_length"),
        ({"attentional_pool": "junk"}, {}, {}, "attentional_pool"),
        ({}, {}, {"std": [0.5, 0, 0.5]}, "std"),
    ],
)
def test_values_that_take_memory_or_fail_for_each_photo_are_refused_at_the_start(
    tmp_path: Path, vision: Any, text: Any, preprocessing: Any, key: str
) -> None:
    config = {**PLAIN, "vision_cfg": PLAIN["vision_cfg"] | vision, "text_cfg": PLAIN["text_cfg"] | text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    save_file({"a": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(QpertError, match=key):
        check_encoder("open_clip", str(tmp_path))


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its ids would be out of range for the first search, when all photos are indexed."""
    weights = save_model(tmp_path, PLAIN)
    with pytest.raises(QpertError, match="CLIP's has 49,408 words, but the model 50"):
        load_encoder("open_clip", weights=weights)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "dog": 50}, unk_token="[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(QpertError, match="ids up to 50, but the model 50 words"):
        load_encoder("open_clip", weights=weights)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel"}}')
    with pytest.raises(QpertError, match=r"tokenizer\.json is damaged"):
        load_encoder("open_clip", weights=weights)
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "[PAD]": 1, "dog": 70}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces.save(str(tmp_path / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kind))
    change_json(tmp_path / "open_clip_config.json", lambda values: set_text(values, hf_tokenizer_name="org/words"))
    with pytest.raises(QpertError, match="ids up to 70 or more, but the model 50 words"):
        load_encoder("open_clip", weights=weights)


def test_a_token_id_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "dog": 49}, unk_token="[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    encoder = load_encoder("open_clip", weights=save_model(tmp_path, PLAIN))
    assert encoder.embed_text(input_ids=torch.full((1, 8), 49)).shape == (1, 64)
    with pytest.raises(QpertError, match="token id 50, but the model 50 words"):
        encoder.embed_text(input_ids=torch.full((1, 8), 50))


def test_a_missing_tokenizer_is_named_at_the_start(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(QpertError, match=r"has no tokenizer: put the files of 'org/words' there"):
        check_encoder("coca", str(folder))

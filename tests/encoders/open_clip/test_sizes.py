"""The table of open_clip's models against the library itself: a sample always, all of it among the slow tests."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from pipeline.encoders.open_clip import sizes
from pipeline.encoders.open_clip.sizes import find_model, model_sizes
from pipeline.encoders.open_clip.table import open_clip_models
from pipeline.encoders.spec import EncoderSpec

SAMPLE = [
    "ViT-B-16-SigLIP2-256",
    "PE-Core-T-16-384",
    "coca_ViT-B-32",
    "RN50",
    "ViT-B-32",
    "swin_base_patch4_window7_224",
]


def test_sizes_are_those_that_the_models_publish() -> None:
    """Tokens, width, embedding and parameters of SigLIP2, PE-Core, CoCa, ResNet and CLIP."""
    assert model_sizes("ViT-B-16-SigLIP2-256:webli") == EncoderSpec(375_234_050, 256, 768, 1, 768, sites=1)
    assert model_sizes("ViT-SO400M-16-SigLIP2-384") == EncoderSpec(1_136_039_602, 576, 1152, 1, 1152, sites=1)
    assert model_sizes("PE-Core-L-14-336:meta") == EncoderSpec(
        671_138_817, 577, 1024, 1, 1024, sites=1
    )  # with the class token
    assert model_sizes("PE-Core-bigG-14-448").tokens == 1024  # without one
    assert model_sizes("coca_ViT-L-14") == EncoderSpec(638_450_177, 257, 1024, 1, 768, sites=1)
    assert model_sizes("RN50:/some/file.pt") == EncoderSpec(102_007_137, 50, 2048, 1, 1024, sites=1)
    assert model_sizes("ViT-L-14") == EncoderSpec(427_616_513, 257, 1024, 1, 768, sites=0)
    heads = {name: find_model(name).heads for name in ("ViT-SO400M-16-SigLIP2-384", "PE-Core-L-14-336", "RN50")}
    assert heads == {"ViT-SO400M-16-SigLIP2-384": 16, "PE-Core-L-14-336": 8, "RN50": 32}


def test_a_repository_names_its_model() -> None:
    assert find_model("hf-hub:timm/ViT-B-16-SigLIP2-256").name == "ViT-B-16-SigLIP2-256"


@pytest.mark.parametrize("name", ["hf-hub:org/unknown", "ViT-nothing:webli", ""])
def test_unknown_names_are_key_errors(name: str) -> None:
    with pytest.raises(KeyError):
        model_sizes(name)


def test_models_that_the_table_lacks_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    known = open_clip_models()["ViT-S-32"]
    monkeypatch.setattr(sizes, "open_clip_models", dict)
    assert model_sizes("ViT-S-32") == known.spec


@pytest.mark.parametrize("name", SAMPLE)
def test_the_table_has_what_the_library_builds(name: str) -> None:
    import open_clip

    from pipeline.encoders.open_clip.measuring import measure

    known = open_clip_models()[name]
    assert measure(open_clip.get_model_config(name), name).with_weights(known.weights) == known


@pytest.mark.parametrize("name", SAMPLE)
def test_the_encoder_finds_the_same_sizes(name: str) -> None:
    import open_clip

    from pipeline.encoders.open_clip.library import measure_model

    model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    assert measure_model(model) == model_sizes(name)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 144 models, four minutes on a busy machine
def test_the_whole_table_has_what_the_library_builds() -> None:
    """And every model that pools by a map (timm's AttentionPoolLatent) has one site."""
    import open_clip

    from pipeline.encoders.open_clip.measuring import measure_all

    measured = measure_all()
    assert measured.keys() == set(open_clip.list_models()), "a model could not be measured"
    pooling = [name for name in measured if open_clip.get_model_config(name)["vision_cfg"].get("timm_pool") == "map"]
    assert pooling
    assert {measured[name].sites for name in pooling} == {1}
    if version("open_clip_torch") == "3.3.0":  # that of the table
        assert measured == dict(open_clip_models())


def test_a_text_tower_on_the_hub_is_not_asked_for() -> None:
    import open_clip

    from pipeline.encoders.open_clip.measuring import measure

    config = open_clip.get_model_config("nllb-clip-base")
    known = open_clip_models()["nllb-clip-base"]
    assert measure(config, "nllb-clip-base") == known.with_weights({})
    assert measure(config, "another name").parameters == model_sizes("ViT-B-32").parameters  # with CLIP's


def test_work_is_counted_as_open_clip_counts_it() -> None:
    """Its docs/model_profile.csv, image_gflops."""
    published = {
        "ViT-B-32": 8.82,
        "ViT-L-14": 162.03,
        "coca_ViT-L-14": 163.64,
        "ViT-B-16-SigLIP-512": 216.24,
        "RN50": 12.22,
    }
    assert {name: open_clip_models()[name].gigaflops for name in published} == published


def test_the_table_needs_neither_torch_nor_open_clip() -> None:
    import subprocess

    program = (
        "import sys; from pipeline.encoders.open_clip.sizes import model_sizes; model_sizes('ViT-B-32');"
        " sys.exit(bool({'torch', 'open_clip', 'timm', 'transformers'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""The measurement of a whole BLIP-2, on a tiny one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from transformers import Blip2Config

from jobs.cli import main
from pipeline.benchmarks import blip2_pass
from pipeline.benchmarks.blip2_pass import CAPTION, full_size, measure_blip2, random_encoder
from pipeline.benchmarks.operator_work import OperatorWork, random_objects
from pipeline.encoders import base
from pipeline.encoders.blip2.captioning import CaptionWriter
from pipeline.method.settings import Perturbation

SECONDS = ("vision", "plain", "perturbed", "construction", "enhancement", "caption", "perturbed_caption")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(image_size: int = 56) -> Blip2Config:
    return Blip2Config(
        vision_config={
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": image_size, "patch_size": 14, "initializer_range": 0.02,
        },
        qformer_config={
            "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
            "intermediate_size": 48, "max_position_embeddings": 40, "use_qformer_text_input": True,
            "initializer_range": 0.2,
        },
        num_query_tokens=6,
        image_text_hidden_size=16,
    )  # fmt: skip


def test_full_size_equals_the_published_model() -> None:
    config = full_size()
    vision, qformer = config.vision_config, config.qformer_config
    assert (vision.num_hidden_layers, vision.hidden_size, vision.num_attention_heads) == (39, 1408, 16)
    assert (vision.image_size, vision.patch_size, vision.intermediate_size) == (364, 14, 6144)
    assert (qformer.num_hidden_layers, qformer.hidden_size, qformer.num_attention_heads) == (12, 768, 12)
    assert (qformer.vocab_size, qformer.cross_attention_frequency, qformer.encoder_hidden_size) == (30523, 2, 1408)
    assert qformer.use_qformer_text_input
    assert (config.num_query_tokens, config.image_text_hidden_size) == (32, 256)
    assert full_size(224).vision_config.image_size == 224


def test_random_weights_distinguish_tokens_queries_and_photos() -> None:
    encoder = random_encoder(tiny())
    for layer in encoder.model.vision_model.encoder.layers:
        assert layer.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.2)
    tokens = encoder.backbone(torch.randn(2, 3, 56, 56))
    assert tokens.isfinite().all()
    assert tokens.std(1).mean() > 0.1
    vectors = encoder.embed(tokens)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
    assert (vectors[0] @ vectors[0].T)[~torch.eye(6, dtype=torch.bool)].max() < 0.9999
    assert encoder.head.decoder.weight is encoder.model.embeddings.word_embeddings.weight


def test_times_are_positive_and_consistent() -> None:
    times = measure_blip2(tiny(), images=2, objects=3, repetitions=1)
    assert all(getattr(times, name) > 0 for name in SECONDS)
    assert times.share == (times.perturbed - times.plain) / (times.vision + times.plain)
    assert (times.images, times.objects, times.sites, times.image_size, times.repetitions) == (2, 3, 2, 56, 1)
    assert (times.caption_tokens, times.beams, times.threads) == (30, 3, 1)
    assert 1 <= times.tokens_per_object <= 16
    assert times.moved > 0.01

    encoder = random_encoder(tiny())
    model = sum(parameter.numel() for parameter in encoder.model.parameters())
    assert times.parameters == model + 32 * 32 + 3 * 32 + 40  # the head's dense layer, its LayerNorm, a bias per word
    assert times.vision_parameters == sum(parameter.numel() for parameter in encoder.model.vision_model.parameters())
    assert times.weights == 4 * times.parameters < times.peak


@pytest.mark.parametrize("perturbation", [None, Perturbation.released(), Perturbation(stages=("itm",))])
def test_perturbed_passes_are_perturbed_and_captions_have_full_length(monkeypatch, perturbation) -> None:
    made, written = [], []
    monkeypatch.setattr(base, "object_operator", _recording(base.object_operator, made))
    monkeypatch.setattr(CaptionWriter, "write", _recording(CaptionWriter.write, written))
    measure_blip2(tiny(), images=2, objects=3, repetitions=2, perturbation=perturbation)
    # two sites: three runs including the warm-up, embeddings and captions, and one for the distance
    assert len(made) == 2 * (3 + 3 + 1)
    assert all((operator != 0).any() for operator in made)
    assert len(written) == 3 + 3 + 1
    assert [[len(row) for row in rows] for rows in written] == [[30, 30]] * 6 + [[30]]


def test_a_scale_of_zero_moves_nothing() -> None:
    assert measure_blip2(tiny(), repetitions=1, perturbation=Perturbation(scale=0)).moved < 1e-5


def test_separate_operators_equal_those_of_the_pass(monkeypatch) -> None:
    encoder, boxes, perturbation = random_encoder(tiny()), random_objects(2, 3), Perturbation.paper()
    tokens = encoder.backbone(torch.randn(2, 3, 56, 56))
    work = OperatorWork(encoder.sites(), lambda: encoder.embed(tokens), 6, boxes, encoder.grid, perturbation)
    made: list[torch.Tensor] = []
    monkeypatch.setattr(base, "object_operator", _recording(base.object_operator, made))
    encoder.embed(tokens, boxes, perturbation)
    by_itself = work.construct()
    assert list(by_itself) == list(encoder.sites())
    torch.testing.assert_close(list(by_itself.values()), made)
    assert [queries.shape for queries in work.enhance()] == [(2, 2, 6, 16)] * 2


def test_the_command_prints_and_writes_the_result(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(blip2_pass, "full_size", tiny)
    monkeypatch.setattr(blip2_pass, "measure_blip2", partial(measure_blip2, seed=1))
    file = tmp_path / "figures.json"
    words = ["--blip2.image-size", "42", "--blip2.images", "2", "--blip2.objects", "4", "--blip2.repetitions", "1"]
    assert main(["benchmark", "blip2", "--cpus", "1", "--json", str(file), *words]) == 0
    saved = json.loads(file.read_text())
    assert list(saved) == ["blip2"]
    assert set(saved["blip2"]) == {field.name for field in dataclasses.fields(blip2_pass.Blip2Times)}
    assert [saved["blip2"][name] for name in ("image_size", "images", "objects", "repetitions")] == [42, 2, 4, 1]
    text = capsys.readouterr().out
    assert "BLIP-2 at 42 px, random weights" in text
    assert "batch of 2, 4 objects each" in text
    assert f"{saved['blip2']['share']:.4f} of the vision tower's and the plain Q-Former's time" in text
    assert f"{CAPTION.max_length} tokens, {CAPTION.num_beams} beams" in text


def _recording(function, results):
    def wrapped(*args, **kwargs):
        results.append(function(*args, **kwargs))
        return results[-1]

    return wrapped

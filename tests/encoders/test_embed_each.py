"""Many perturbations of the same photos at once: bit for bit the separate results, with less work."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from pipeline.encoders import load_encoder, miniature_encoders
from pipeline.encoders.internvl.encoder import InternVLEncoder
from pipeline.method import subspaces
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from tests.encoders.internvl import tiny_internvl

SETTINGS = (
    None,
    Perturbation(scale=2),
    Perturbation(scale=0.5, threshold=0.99, weight="1-area"),
    Perturbation(scale=2, threshold=0.8, combine="mean"),
    Perturbation(scale=2, min_components=0),
    Perturbation(scale=2, operator="orthogonal"),
    Perturbation(scale=2, tokens="coverage"),
    Perturbation.released(scale=2),
    Perturbation(scale=2, sites=(0,)),
    Perturbation(scale=2, stages=("itm",)),
    Perturbation(scale=2, pca="centred"),
    Perturbation(scale=2, pca="background-out"),
    Perturbation(scale=2, pca="background-out", background=0.5),
    Perturbation(scale=2, norm="keep"),
    Perturbation(scale=2, operator="scaled"),
    Perturbation(scale=2, operator="random"),
    Perturbation(scale=2, operator="random", seed=1),
    Perturbation(scale=2, operator="complement"),
    Perturbation(scale=2, boxes="elsewhere"),
    Perturbation(scale=2, boxes="elsewhere", seed=1),
    Perturbation(scale=2, boxes="shuffled"),
    Perturbation(scale=2, boxes="shuffled", seed=1),
    Perturbation(scale=2),
)


def photos(encoder: Any) -> tuple[torch.Tensor, list[Objects]]:
    generator = torch.Generator().manual_seed(0)
    size = encoder.grid.image_size
    tokens = encoder.backbone(torch.randn(3, 3, size, size, generator=generator))
    boxes = [[0.1, 0.1, 0.4, 0.5], [0.5, 0.2, 1, 1], [0.0, 0.8, 0.2, 1.0]]
    others = torch.tensor([[0.3, 0.3, 0.9, 0.6], [0.0, 0.0, 0.3, 0.3], [0.6, 0.6, 0.7, 1.0]])
    draws = {0: others, 1: others.flip(0)}
    return tokens, [
        Objects(boxes, [""] * 3, [1] * 3, (9, 9), "first", draws),
        Objects.empty((9, 9)),
        Objects(boxes[1:], ["", ""], [1, 1], (9, 9), "third", {seed: drawn[1:] for seed, drawn in draws.items()}),
    ]


@pytest.mark.parametrize("name", miniature_encoders())
def test_embed_each_equals_embed_bit_for_bit(name: str) -> None:
    encoder = load_encoder(name)
    tokens, objects = photos(encoder)
    together = encoder.embed_each(tokens, objects, SETTINGS)
    for vectors, setting in zip(together, SETTINGS, strict=True):
        assert torch.equal(vectors, encoder.embed(tokens, objects, setting))
    assert len({vectors.sum().item() for vectors in together}) >= 18  # they differ


def test_nothing_is_remembered_from_earlier_photos() -> None:
    encoder = load_encoder("blip2")
    tokens, objects = photos(encoder)
    first = encoder.embed_each(tokens, objects, SETTINGS)
    other = encoder.embed_each(tokens.flip(0), objects[::-1], SETTINGS)
    for before, after, setting in zip(first, other, SETTINGS, strict=True):
        torch.testing.assert_close(after, before.flip(0), msg=str(setting))
    with pytest.raises(ValueError, match="broken"):
        encoder.embed_each(tokens, objects, [SETTINGS[1], _Broken()])  # type: ignore[list-item]
    assert all("memory" not in vars(site) for site in encoder.sites().values())
    assert torch.equal(encoder.embed(tokens, objects, SETTINGS[1]), first[1])


class _Broken:
    stages = ("itc",)

    @property
    def sites(self) -> None:
        raise ValueError("broken")


def test_keys_and_subspaces_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = InternVLEncoder.from_model(tiny_internvl.build())
    tokens, objects = photos(encoder)
    calls: Counter[str] = Counter()
    crossed: Any = encoder.sites()["qllama.model.layers.2.cross_attn"]
    crossed.k_proj.register_forward_hook(lambda *_: calls.update(["keys"]))
    crossed.q_proj.register_forward_hook(lambda *_: calls.update(["queries"]))
    eigh = torch.linalg.eigh

    def counted(matrix: torch.Tensor) -> Any:
        calls["eigh"] += 1
        return eigh(matrix)

    monkeypatch.setattr(subspaces.torch.linalg, "eigh", counted)
    alike = [
        Perturbation(scale=s, threshold=t, weight=w) for s in (1, 2) for t in (0.8, 0.9) for w in ("area", "constant")
    ]
    encoder.embed_each(tokens, objects, alike[:1])
    once = dict(calls)
    calls.clear()
    encoder.embed_each(tokens, objects, alike)
    assert calls == {"keys": 1, "queries": len(alike), "eigh": once["eigh"]}


@pytest.mark.parametrize("name", miniature_encoders())
@pytest.mark.parametrize("broken", [1e30, torch.nan])
def test_keys_without_a_gram_matrix_fail_only_their_own_photo(name: str, broken: float) -> None:
    """As in an index run: the other photos of its micro-batch get the same vectors as without it."""
    from pipeline.workers.micro_batching import Failure, MicroBatcher

    encoder = load_encoder(name)
    tokens, objects = photos(encoder)
    site = next(iter(encoder.sites().values()))
    setting = Perturbation(scale=2)
    want = [encoder.embed(tokens[row : row + 1], [objects[row]], setting) for row in range(3)]
    marked = tokens[0, 0].clone()
    original = site.enhance

    def run(rows: list[int]) -> list[torch.Tensor]:
        def enhance(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
            keys = keys.clone()
            if 0 in rows:
                keys[rows.index(0) * (len(keys) // len(rows))] = broken
            return original(queries, keys)

        site.enhance = enhance  # type: ignore[method-assign]
        try:
            return list(encoder.embed(tokens[rows], [objects[row] for row in rows], setting)[:, None])
        finally:
            del site.enhance

    first, second, third = MicroBatcher(run, lambda: run([1]), 3, "encoder")([0, 1, 2])
    assert isinstance(first, Failure)
    assert "the keys of an object at" in first.reason
    assert torch.equal(tokens[0, 0], marked)
    for got, row in ((second, 1), (third, 2)):
        torch.testing.assert_close(got, want[row])

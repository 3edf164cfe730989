"""What the contract itself does: dropping artefact tokens from the objects' keys."""

from __future__ import annotations

import pytest
import torch

from pipeline.encoders import Encoder, load_encoder
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

SIZE = (112, 112)
KEEP, DROP = Perturbation(scale=2, weight="1-area"), Perturbation(scale=2, weight="1-area", artefacts="drop")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("coca")


@pytest.fixture
def tokens(encoder: Encoder) -> torch.Tensor:
    """Of two photos; token 1, the first patch, is an artefact in the first."""
    made = encoder.backbone(torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)))
    made[0, 1] = 8 * made[0, 9]
    return made


def boxes(*corners: list[float]) -> Objects:
    return Objects([*corners], [""] * len(corners), [1.0] * len(corners), SIZE)


def test_artefacts_are_left_out_of_the_keys(encoder: Encoder, tokens: torch.Tensor) -> None:
    """The box covers tokens 1, 2 and 8, 9 of the 7 x 7 grid; three boxes around the first leave the same keys."""
    side = 1 / 7
    square = [boxes([0, 0, 2 * side, 2 * side])] * 2
    got, kept = encoder.embed(tokens, square, DROP), encoder.embed(tokens, square, KEEP)
    assert (got[0] - kept[0]).abs().max() > 1e-3
    torch.testing.assert_close(got[1], kept[1])  # no artefacts in the second photo
    changed = tokens.clone()
    changed[0, 1] = -3 * tokens[0, 1]  # with another artefact, only the softmax may see the difference
    keys: list[torch.Tensor] = []
    for photo in (tokens, changed):
        with encoder.perturbing(photo, square, DROP, "itc"):
            site = next(iter(encoder.sites().values()))
            operator = site.operator  # type: ignore[union-attr]
            encoder.embed(photo)
            seen = torch.randn(2, 8, 50, 16, generator=torch.Generator().manual_seed(1))
            keys.append(operator(seen))  # type: ignore[operator, misc]
    assert torch.equal(keys[0], keys[1])


def test_an_object_of_artefacts_alone_contributes_nothing(encoder: Encoder, tokens: torch.Tensor) -> None:
    first = [0.0, 0.0, 0.1, 0.1]  # token 1 alone
    other = [0.5, 0.5, 0.9, 0.9]
    plain = encoder.embed(tokens)
    nothing = [boxes(first), Objects.empty(SIZE)]
    assert torch.equal(encoder.embed(tokens, nothing, DROP), plain)
    assert not torch.equal(encoder.embed(tokens, nothing, KEEP)[0], plain[0])
    for combine in ("sum", "mean"):
        setting = Perturbation(scale=2, combine=combine, artefacts="drop")  # type: ignore[arg-type]
        both = encoder.embed(tokens, [boxes(first, other), Objects.empty(SIZE)], setting)
        alone = encoder.embed(tokens, [boxes(other), Objects.empty(SIZE)], setting)
        torch.testing.assert_close(both, alone)


def test_settings_with_and_without_artefacts_share_no_subspaces(encoder: Encoder, tokens: torch.Tensor) -> None:
    objects = [boxes([0, 0, 0.4, 0.4])] * 2
    together = encoder.embed_each(tokens, objects, [KEEP, DROP, KEEP])
    for vectors, setting in zip(together, (KEEP, DROP, KEEP), strict=True):
        assert torch.equal(vectors, encoder.embed(tokens, objects, setting))
    assert not torch.equal(together[0], together[1])

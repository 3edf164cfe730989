"""Artefact tokens: those of outlying norm among the photo's own patches."""

from __future__ import annotations

import pytest
import torch

from pipeline.method.artefacts import artefact_tokens


def of_norms(*rows: list[float]) -> torch.Tensor:
    """Tokens [B, N, 2] of these norms."""
    norms = torch.tensor(rows)
    return torch.stack([0.6 * norms, -0.8 * norms], -1)


def found(tokens: torch.Tensor, prefix: int = 0) -> list[list[int]]:
    mask = artefact_tokens(tokens, prefix)
    assert mask.dtype == torch.bool
    assert mask.shape == tokens.shape[:2]
    return [row.nonzero().flatten().tolist() for row in mask]


def test_the_rule_by_hand() -> None:
    """Norms of 10 to 14: median 12, MAD 1, and twice the median is the limit; of 6 to 18: MAD 3, the limit is 42."""
    assert found(of_norms([10, 11, 12, 13, 14, 12, 24.5])) == [[6]]
    assert found(of_norms([10, 11, 12, 13, 14, 12, 23.5])) == [[]]
    assert found(of_norms([6, 9, 12, 15, 18, 12, 41.5])) == [[]]
    assert found(of_norms([6, 9, 12, 15, 18, 12, 42.5])) == [[6]]
    assert found(of_norms([10, 11, 12, 13, 14, 12, 0.1])) == [[]]  # small norms are no artefacts


def test_each_photo_has_its_own_limit() -> None:
    assert found(of_norms([1, 1, 1, 1, 3], [3, 3, 3, 3, 3], [1, 1, 1, 1, 1.01])) == [[4], [], []]


def test_prefix_and_padding_are_neither_artefacts_nor_counted() -> None:
    assert found(of_norms([99, 99, 1, 1, 3, 1]), prefix=2) == [[4]]
    assert found(of_norms([2, 2, 2, 5, 0, 0, 0, 0, 0])) == [[3]]  # with the zeros the median would be 0
    assert found(of_norms([0, 0, 0])) == [[]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    tokens = torch.full((1, 9, 1024), 16.0, dtype=dtype)  # norm 512; its square is beyond float16
    tokens[0, 4] = 64
    assert found(tokens) == [[4]]


def test_tokens_that_are_not_finite_are_left_to_the_check_of_the_keys() -> None:
    tokens = of_norms([1, 1, 1, 1, 9])
    tokens[0, 0, 0] = torch.nan
    tokens[0, 1, 0] = torch.inf
    assert found(tokens) == [[4]]


def test_photos_of_ordinary_tokens_keep_them_all() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not artefact_tokens(torch.randn(200, 257, 64, generator=generator), 1).any()
    assert not artefact_tokens(torch.nn.functional.layer_norm(torch.randn(50, 256, 64), (64,)), 0).any()

"""The components of an object's keys that are kept, in cases with results by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.method.object_keys import pool_object_keys
from pipeline.method.operator import object_operator, projector
from pipeline.method.settings import Perturbation
from pipeline.method.subspaces import leading_components


def test_both_ways_to_the_subspace_agree() -> None:
    for rank in (1, 3, 7):
        few = torch.randn(2, 7, 10)[..., :rank, :]
        few = torch.cat([few, few.sum(-2, keepdim=True).expand(-1, 7 - rank, -1)], -2)  # rank-deficient
        many = torch.cat([few, torch.zeros(2, 6, 10)], -2)  # the same subspace from 13 keys
        for threshold in (0.6, 0.9, 0.999, 1.0):
            p = Perturbation(threshold=threshold)
            torch.testing.assert_close(projector(few, p), projector(many, p), atol=1e-4, rtol=0)
        assert round(projector(few, Perturbation(threshold=1.0))[0].trace().item()) == rank


def test_collinear_keys() -> None:
    keys = torch.tensor([[2.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.5, 0.0, 0.0], [9.0, 0, 0], [9.0, 0, 0]])
    want = torch.diag(torch.tensor([1.0, 0.0, 0.0]))
    for count in (2, 3, 5):  # fewer tokens than dimensions, as many, more
        for threshold in (0.1, 0.9, 1.0):
            torch.testing.assert_close(projector(keys[:count], Perturbation(threshold=threshold)), want)


def test_a_ratio_equal_to_the_threshold_does_not_exceed_it() -> None:
    keys = torch.diag(torch.tensor([3.0, 2.0, 1.0, 1.0, 1.0]))  # energies 9, 4, 1, 1, 1 of 16
    for threshold, rank in ((9 / 16, 1), (13 / 16, 2), (14 / 16, 3), (13 / 16 - 1e-4, 1), (13 / 16 + 1e-4, 2), (1, 5)):
        assert round(projector(keys, Perturbation(threshold=threshold)).trace().item()) == rank
    tenths = torch.diag(torch.tensor([3.0, 1.0]))
    assert round(projector(tenths, Perturbation(threshold=0.9)).trace().item()) == 1


def test_leading_components() -> None:
    sigma = torch.tensor([[6.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [5.0, 5.0, -1e-9, -1e-9]])
    assert leading_components(sigma, 0.9, 1).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert leading_components(sigma, 0.4, 1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert leading_components(sigma, 0.4, 0).any().item() is False
    assert leading_components(sigma, 1.0, 0).tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]]


def test_eigenvector_rows_keep_rows_of_the_eigenvectors() -> None:
    # Signs of eigenvectors are arbitrary, so each head is compared with this eigh, not with SciPy's.
    p = Perturbation.released()
    keys = torch.randn(40, 6)
    _, columns = torch.linalg.eigh(keys.T @ keys)
    got = projector(keys, p)
    rank = round(got.trace().item())
    rows = columns.flip(-1)[:rank]
    torch.testing.assert_close(got, rows.T @ rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(got @ got, got, atol=1e-5, rtol=0)
    inside = projector(keys, Perturbation(threshold=p.threshold))
    assert round(inside.trace().item()) == rank < 6
    assert (got - inside).abs().max() > 0.1
    few = projector(torch.randn(3, 6), p)  # fewer tokens than dimensions: still a [d, d] of rows
    assert few.shape == (6, 6)
    assert round(few.trace().item()) <= 3


ROUNDING = 2e-6
"""Of products of fp32 projectors with up to 40 rows."""


def row_space(keys: torch.Tensor) -> np.ndarray:
    """Projector onto the row space in float64, with the rank rule of `pipeline.method.subspaces` (NumPy's)."""
    exact = keys.double().numpy()
    rank = np.linalg.matrix_rank(exact, tol=max(exact.shape) * np.finfo(np.float32).eps * np.linalg.norm(exact, 2))
    rows = np.linalg.svd(exact)[2][:rank]
    return rows.T @ rows


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rank=st.integers(0, 12), tokens=st.integers(1, 40), dim=st.integers(1, 24),
    decades=st.sampled_from([0.0, 2.0, 4.0, 5.0]), power=st.sampled_from([-120, -60, -20, 0, 20, 50]),
)  # fmt: skip
def test_threshold_one_is_the_projector_onto_the_row_space(
    seed: int, rank: int, tokens: int, dim: int, decades: float, power: int
) -> None:
    """Even if singular values span five decades, of which a Gram matrix in fp32 keeps three."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(*shape, generator=generator).double() for shape in ((tokens, rank), (rank, dim)))
    keys = (left * torch.logspace(0, -decades, rank).double() @ right).float()
    spectrum = torch.linalg.svdvals(keys.double())
    least = max(tokens, dim) * 2.0**-23 * spectrum[:1]
    if ((spectrum > 0.3 * least) & (spectrum < 3 * least)).any():
        return  # rounding decides whether such a direction counts
    for operator, min_components in (("subspace", 1), ("subspace", 0), ("orthogonal", 1)):
        p = Perturbation(operator=operator, threshold=1.0, min_components=min_components)  # type: ignore[arg-type]
        got = projector(keys * 2.0**power, p)
        torch.testing.assert_close(got @ got, got, atol=ROUNDING, rtol=0)
        want = row_space(keys)
        if operator == "orthogonal":
            want = (np.eye(dim) - want) * bool(spectrum.max() > 0)
        np.testing.assert_allclose(got, want, atol=2e-2 if decades > 4 else 2e-3)  # fp32 keys hold no more
        padded = torch.cat([keys, torch.zeros(7, dim)]) * 2.0**power  # as in a group of objects
        torch.testing.assert_close(projector(padded, p), got, atol=1e-4, rtol=0)


def test_threshold_one_keeps_the_smallest_direction_entirely() -> None:
    keys = torch.diag(torch.tensor([1.0, 1e-3, 1e-5]))
    for few in (keys[:, :3], torch.cat([keys, torch.zeros(3, 2)], 1), torch.cat([keys, torch.zeros(9, 3)])):
        got = projector(few, Perturbation(threshold=1.0))
        want = torch.zeros_like(got)
        want[:3, :3] = torch.eye(3)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
    assert round(projector(keys, Perturbation.released(threshold=1.0)).trace().item()) == 3


@pytest.mark.parametrize("threshold", [0.9, 1.0])
@pytest.mark.parametrize("tokens", [3, 20])
def test_tiny_keys_have_the_subspace_of_large_ones(threshold: float, tokens: int) -> None:
    """Down to subnormal numbers, whose squares are 0; a power of two changes no bit of ordinary ones."""
    keys = torch.randint(-8, 9, (tokens, 6), generator=torch.Generator().manual_seed(2)).float()
    p = Perturbation(threshold=threshold)
    want = projector(keys, p)
    for power in (-140, -120, -70, -41, -10, 10, 50):
        torch.testing.assert_close(projector(keys * 2.0**power, p), want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("threshold", [0.9, 1.0])
@pytest.mark.parametrize("operator", ["subspace", "orthogonal", "eigenvector-rows"])
@pytest.mark.parametrize("broken", [1e19, 1e25, 3e38, torch.inf, -torch.inf, torch.nan])
def test_keys_without_a_gram_matrix_have_no_operator_and_leave_the_others_alone(
    threshold: float, operator: str, broken: float
) -> None:
    p = Perturbation(threshold=threshold, operator=operator)  # type: ignore[arg-type]
    keys = torch.randn(3, 2, 9, 6, generator=torch.Generator().manual_seed(0))
    coverage = torch.zeros(3, 1, 9)
    coverage[:, :, 2:6] = 1
    groups = pool_object_keys(coverage, torch.full((3, 1), 0.2), p)
    want = object_operator(keys, groups, p)
    assert want.isfinite().all()
    keys[1, 0, 3] = broken
    got = object_operator(keys, groups, p)
    assert torch.equal(got[[0, 2]], want[[0, 2]])
    assert torch.equal(got[1, 1], want[1, 1])
    assert got[1, 0].isnan().all()
    keys[1, 0, 3], keys[1, 0, 8] = 1, broken  # a key that belongs to no object
    assert object_operator(keys, groups, p).isfinite().all()

"""Which components of an object's keys are kept, in cases that can be worked out by hand."""

from __future__ import annotations

import torch

from pipeline.perturbation import Perturbation, projector
from pipeline.subspaces import leading_components


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


def test_a_threshold_that_is_hit_exactly_is_not_exceeded() -> None:
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
    # Signs of eigenvectors are arbitrary, so each head is compared with what eigh gives here, not with SciPy's.
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

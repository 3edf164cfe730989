"""What the controls put in the place of an object's projector, against a plain float64 reference, head by head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.method.object_keys import pool_object_keys
from pipeline.method.operator import object_operator, object_subspaces, perturb, projector
from pipeline.method.settings import Perturbation

HEADS, DIM, TOKENS = 2, 10, 24


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The matrices are small; a second thread would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch(seed: int, photos: int = 3, objects: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries [B, H, Q, d], keys [B, H, N, d], coverage [B, O, N], areas [B, O], counted [B, N]."""
    g = torch.Generator().manual_seed(seed)
    queries = torch.randn(photos, HEADS, 4, DIM, generator=g)
    keys = torch.randn(photos, HEADS, TOKENS, DIM, generator=g) * torch.logspace(0, -1, DIM) + 0.7
    coverage = (torch.rand(photos, objects, TOKENS, generator=g) - 0.6).clamp(min=0)
    coverage[-1, 1:] = 0
    coverage[:, :, 0] = 0
    counted = torch.ones(photos, TOKENS, dtype=torch.bool)
    counted[:, 0] = False
    return queries, keys, coverage, torch.rand(photos, objects, generator=g), counted


def leading(matrix: np.ndarray, threshold: float, least: int) -> np.ndarray:
    """The projector onto the leading eigenvectors of a Gram matrix, one at a time."""
    values, columns = np.linalg.eigh(matrix)
    values, columns = np.maximum(values[::-1], 0), columns[:, ::-1]
    count = 0
    while count < len(values) and (values[: count + 1].sum() / values.sum() <= threshold + 1e-6 or count < least):
        count += 1
    return columns[:, :count] @ columns[:, :count].T


def reference(queries: Tensor, keys: Tensor, coverage: Tensor, areas: Tensor, counted: Tensor, p: Perturbation):
    """Perturbed queries with loops over photos, heads and objects, in float64."""
    q, k, c, use = (x.double().numpy() for x in (queries, keys, coverage, counted))
    out = q.copy()
    unit = np.eye(DIM)
    for photo in range(len(q)):
        weights = (c[photo] > 0).astype(float) if p.tokens == "overlap" else c[photo]
        seen = [i for i in range(len(weights)) if weights[i].any()]
        share = 1 / len(seen) if p.combine == "mean" and seen else 1
        for head in range(HEADS):
            own, every = k[photo, head], k[photo, head][use[photo] > 0]
            if p.pca == "centred":
                own = own - every.mean(0)
            elif p.pca == "background-out":
                own = own - own @ leading(every.T @ every, p.background, 1)
            added, moved = np.zeros((DIM, DIM)), np.zeros((DIM, DIM))
            for i in seen:
                weighted = own * weights[i][:, None]
                inside = leading(weighted.T @ weighted, p.threshold, p.min_components)
                alpha = p.scale * share * float(p.alphas(areas[photo, i])) / p.scale
                added += alpha * {"subspace": inside, "orthogonal": unit - inside, "scaled": unit}.get(p.operator, unit)
                moved += share * (unit - inside)
            old = q[photo, head]
            new = old @ moved if p.operator == "complement" and seen else old + old @ added
            if p.operator == "complement" and not seen:
                new = old
            if p.norm == "keep":
                lengths = np.linalg.norm(new, axis=-1, keepdims=True)
                new = new * np.linalg.norm(old, axis=-1, keepdims=True) / np.where(lengths > 0, lengths, 1)
            out[photo, head] = new
    return out


def ours(queries: Tensor, keys: Tensor, coverage: Tensor, areas: Tensor, counted: Tensor, p: Perturbation) -> Tensor:
    groups = pool_object_keys(coverage, areas, p)
    return perturb(queries, object_operator(keys, groups, p, counted=counted), p.norm)


@settings(max_examples=60, deadline=None)
@given(
    operator=st.sampled_from(["subspace", "orthogonal", "complement", "scaled"]),
    pca=st.sampled_from(["uncentred", "centred", "background-out"]),
    norm=st.sampled_from(["free", "keep"]),
    combine=st.sampled_from(["sum", "mean"]),
    tokens=st.sampled_from(["overlap", "coverage"]),
    weight=st.sampled_from(["constant", "1-area", "area-0.5"]),
    threshold=st.sampled_from([0.5, 0.8, 0.9, 0.99]),
    background=st.sampled_from([0.3, 0.9]),
    least=st.sampled_from([0, 1]),
    seed=st.integers(0, 50),
)
def test_every_combination_equals_the_reference(
    operator, pca, norm, combine, tokens, weight, threshold, background, least, seed
) -> None:
    p = Perturbation(
        operator,
        combine,
        tokens,
        weight,
        1.5,
        threshold,
        min_components=least,
        pca=pca,
        background=background,
        norm=norm,
    )
    data = batch(seed)
    np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=2e-3, rtol=1e-3)


def test_scaled_queries_are_a_number_times_the_queries() -> None:
    queries, keys, coverage, areas, counted = batch(1)
    p = Perturbation(operator="scaled", scale=0.5, weight="1-area")
    got = ours(queries, keys, coverage, areas, counted, p)
    seen = coverage.any(-1)
    factor = 1 + (0.5 * (1 - areas) * seen).sum(1)
    torch.testing.assert_close(got, queries * factor[:, None, None, None])


@pytest.mark.parametrize("threshold", [0.8, 0.99, 1.0])
def test_a_random_operator_is_a_projector_of_the_objects_rank(threshold: float) -> None:
    _, keys, coverage, areas, _ = batch(2, objects=1)
    coverage[:, :, 9:] = 0  # fewer tokens than dimensions, or the whole space would be kept
    coverage[:, 0, 5:8] = 1
    p = Perturbation(scale=1, threshold=threshold)
    own = object_operator(keys, pool_object_keys(coverage, areas, p), p)
    r = dataclasses.replace(p, operator="random")
    got = object_operator(keys, pool_object_keys(coverage, areas, r, photo_keys=[7, 8, 9]), r)
    torch.testing.assert_close(got @ got, got, atol=1e-5, rtol=0)
    torch.testing.assert_close(got, got.mT, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.diagonal(dim1=-2, dim2=-1).sum(-1), own.diagonal(dim1=-2, dim2=-1).sum(-1))
    assert (got - own).abs().amax((-2, -1)).min() > 0.05  # other subspaces, in every photo and head
    assert (got[:, 0] - got[:, 1]).abs().max() > 0.05


def test_random_numbers_belong_to_the_photo_its_object_and_the_seed() -> None:
    _, keys, coverage, areas, _ = batch(3)

    def operator(order: list[int], photo_keys: list[int], seed: int = 0) -> Tensor:
        p = Perturbation(operator="random", scale=1, seed=seed)
        groups = pool_object_keys(coverage[order], areas[order], p, photo_keys=photo_keys)
        return object_operator(keys[order], groups, p)

    together = operator([0, 1, 2], [11, 12, 13])
    assert torch.equal(operator([2, 0], [13, 11]), together[[2, 0]])
    assert not torch.allclose(operator([0], [12]), together[:1])
    assert not torch.allclose(operator([0], [11], seed=1), together[:1])


def test_a_random_subspace_does_not_depend_on_what_the_object_is_grouped_with() -> None:
    """Objects of like token counts are decomposed together, padded to the largest of them."""
    keys = torch.randn(2, HEADS, TOKENS, DIM, generator=torch.Generator().manual_seed(0))
    coverage = torch.zeros(2, 1, TOKENS)
    coverage[0, 0, :4] = coverage[1, 0, :7] = 1
    p, areas = Perturbation(operator="random", scale=1), torch.full((2, 1), 0.1)
    together = object_operator(keys, pool_object_keys(coverage, areas, p, photo_keys=[5, 6]), p)
    alone = object_operator(keys[:1], pool_object_keys(coverage[:1], areas[:1], p, photo_keys=[5]), p)
    torch.testing.assert_close(alone[0], together[0])


def test_kept_norms_are_the_lengths_of_the_queries() -> None:
    queries, keys, coverage, areas, counted = batch(4)
    for operator in ("subspace", "orthogonal", "complement", "scaled"):
        got = ours(queries, keys, coverage, areas, counted, Perturbation(operator=operator, norm="keep"))  # type: ignore[arg-type]
        torch.testing.assert_close(got.norm(dim=-1), queries.norm(dim=-1), atol=1e-5, rtol=1e-6)
    scaled = ours(queries, keys, coverage, areas, counted, Perturbation(operator="scaled", norm="keep"))
    torch.testing.assert_close(scaled, queries)


@pytest.mark.parametrize("length", [1e-30, 1e-22, 1e20, 1e30])
def test_norms_are_kept_beyond_the_squares_that_float32_holds(length: float) -> None:
    queries, operator = torch.full((1, 1, 2, 4), length), torch.eye(4).mul(2).view(1, 1, 4, 4)
    torch.testing.assert_close(perturb(queries, operator, "keep") / length, torch.ones(1, 1, 2, 4))


def test_kept_norms_do_not_stretch_rounding() -> None:
    """The complement of the whole space leaves nothing of a query: what float32 leaves has no direction to keep."""
    keys = torch.randn(1, HEADS, TOKENS, DIM, generator=torch.Generator().manual_seed(1))
    p = Perturbation(operator="complement", threshold=1.0, norm="keep")
    operator = object_operator(keys, pool_object_keys(torch.ones(1, 1, TOKENS), torch.ones(1, 1), p), p)
    assert not perturb(torch.ones(1, HEADS, 3, DIM), operator, "keep").any()


def test_queries_are_untouched_without_objects_whatever_the_switches() -> None:
    queries, keys, coverage, areas, counted = batch(5)
    coverage[0] = 0
    for operator in ("subspace", "orthogonal", "complement", "scaled", "random"):
        for norm in ("free", "keep"):
            p = Perturbation(operator=operator, norm=norm, pca="centred")  # type: ignore[arg-type]
            assert torch.equal(ours(queries, keys, coverage, areas, counted, p)[0], queries[0])


def test_the_complement_of_a_whole_space_leaves_nothing() -> None:
    """And a query of length 0 stays so."""
    keys, coverage = torch.eye(DIM).expand(1, HEADS, -1, -1), torch.ones(1, 1, DIM)
    for norm in ("free", "keep"):
        p = Perturbation(operator="complement", threshold=1.0, norm=norm)  # type: ignore[arg-type]
        operator = object_operator(keys, pool_object_keys(coverage, torch.ones(1, 1), p), p)
        got = perturb(torch.ones(1, HEADS, 3, DIM), operator, p.norm)
        torch.testing.assert_close(got, torch.zeros_like(got), atol=1e-6, rtol=0)


def test_broken_keys_give_nan_from_random_subspaces_too() -> None:
    _, keys, coverage, areas, _ = batch(6)
    keys[1] = torch.nan
    p = Perturbation(operator="random")
    got = object_operator(keys, pool_object_keys(coverage, areas, p), p)
    assert got[1].isnan().any()
    assert got[[0, 2]].isfinite().all()


def test_centred_subspaces_do_not_change_with_a_vector_added_to_all_keys() -> None:
    queries, keys, coverage, areas, counted = batch(7)
    p = Perturbation(pca="centred", threshold=0.9)
    moved = keys + 5 * torch.randn(HEADS, 1, DIM, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        ours(queries, moved, coverage, areas, counted, p),
        ours(queries, keys, coverage, areas, counted, p),
        atol=1e-3,
        rtol=1e-3,
    )
    uncentred = Perturbation(threshold=0.9)
    assert not torch.allclose(
        ours(queries, moved, coverage, areas, counted, uncentred),
        ours(queries, keys, coverage, areas, counted, uncentred),
        atol=0.1,
    )


def test_shared_subspaces_give_the_same_operator() -> None:
    _, keys, coverage, areas, counted = batch(8)
    base = Perturbation(pca="background-out")
    groups = pool_object_keys(coverage, areas, base)
    shared = object_subspaces(keys, groups, base, counted)
    for operator in ("subspace", "orthogonal", "complement", "random"):
        p = dataclasses.replace(base, operator=operator)  # type: ignore[arg-type]
        own = pool_object_keys(coverage, areas, p)
        assert torch.equal(object_operator(keys, own, p, shared), object_operator(keys, own, p, counted=counted))


def test_projector_is_that_of_one_object() -> None:
    keys = torch.randn(6, DIM, generator=torch.Generator().manual_seed(1))
    whole = projector(keys, Perturbation(threshold=1.0))
    torch.testing.assert_close(keys @ whole, keys, atol=1e-5, rtol=1e-5)

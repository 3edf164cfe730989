"""The method against a plain float64 reference, by hand, and by its properties."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from torch import Tensor

from pipeline.method.object_keys import pool_object_keys
from pipeline.method.operator import object_operator, perturb, projector
from pipeline.method.settings import Perturbation


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The matrices are small; a second thread would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


WEIGHTS = {
    "area": lambda a: a,
    "1-area": lambda a: 1 - a,
    "area-0.5": lambda a: a - 0.5,
    "0.5-area": lambda a: 0.5 - a,
    "constant": lambda a: 1.0,
    "-area": lambda a: -a,
}


def reference_projector(keys: np.ndarray, weights: np.ndarray, p: Perturbation) -> np.ndarray:
    """One object, one head: keys [N, d], weights [N]; in float64, one eigenvector at a time."""
    weighted = keys.astype(np.float64) * weights[:, None]
    values, columns = eigh(weighted.T @ weighted)
    values, columns = np.maximum(values[::-1], 0), columns[:, ::-1]
    if values.sum() == 0:
        return np.zeros((keys.shape[1], keys.shape[1]))
    count = 0
    for value in values:
        ratio = values[: count + 1].sum() / values.sum()
        if value < 1e-6 * values[0] or (ratio > p.threshold + 1e-6 and count >= p.min_components):
            break
        count += 1
    if p.operator == "eigenvector-rows":
        return columns[:count].T @ columns[:count]
    inside = columns[:, :count] @ columns[:, :count].T
    return np.eye(len(inside)) - inside if p.operator == "orthogonal" else inside


def reference(queries: Tensor, keys: Tensor, coverage: Tensor, areas: Tensor, p: Perturbation) -> np.ndarray:
    """Algorithm 1.1 with loops over photos, heads and objects."""
    q, k, c, a = (x.double().numpy() for x in (queries, keys, coverage, areas))
    out = q.copy()
    for photo in range(len(q)):
        weights = (c[photo] > 0).astype(float) if p.tokens == "overlap" else c[photo]
        seen = [i for i in range(len(weights)) if weights[i].any()]
        for head in range(q.shape[1]):
            for i in seen:
                alpha = p.scale * WEIGHTS[p.weight](a[photo, i]) / (len(seen) if p.combine == "mean" else 1)
                out[photo, head] += alpha * q[photo, head] @ reference_projector(k[photo, head], weights[i], p)
    return out


def ours(queries: Tensor, keys: Tensor, coverage: Tensor, areas: Tensor, p: Perturbation) -> Tensor:
    return perturb(queries, object_operator(keys, pool_object_keys(coverage, areas, p), p))


def batch(seed: int = 0, photos: int = 3, objects: int = 4, tokens: int = 30, dim: int = 12, heads: int = 2) -> tuple:
    g = torch.Generator().manual_seed(seed)
    queries = torch.randn(photos, heads, 5, dim, generator=g)
    keys = torch.randn(photos, heads, tokens, dim, generator=g) * torch.logspace(0, -1, dim) + 0.3
    coverage = torch.zeros(photos, objects, tokens)
    for photo in range(photos):
        for i in range(objects):
            count = int(torch.randint(0 if i else 1, tokens + 1, (), generator=g))
            where = torch.randperm(tokens, generator=g)[:count]
            coverage[photo, i, where] = torch.rand(count, generator=g) * 0.95 + 0.05
    return queries, keys, coverage, torch.rand(photos, objects, generator=g)


@pytest.mark.parametrize("operator", ["subspace", "orthogonal"])
@pytest.mark.parametrize("combine", ["sum", "mean"])
@pytest.mark.parametrize("tokens", ["overlap", "coverage"])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 0.99, 0.999])
def test_equals_the_reference(operator: str, combine: str, tokens: str, threshold: float) -> None:
    p = Perturbation(operator=operator, combine=combine, tokens=tokens, threshold=threshold)  # type: ignore[arg-type]
    data = batch(seed=1)
    np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("weight", list(WEIGHTS))
def test_weights_equal_the_reference(weight: str) -> None:
    p = Perturbation(weight=weight, scale=2.5, threshold=0.95)  # type: ignore[arg-type]
    data = batch(seed=2)
    np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=1e-3)


@pytest.mark.parametrize("min_components", [0, 1])
def test_min_components_equals_the_reference(min_components: int) -> None:
    p = Perturbation(min_components=min_components, threshold=0.2)  # type: ignore[arg-type]
    data = batch(seed=3)
    np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=1e-3)
    if not min_components:
        assert torch.equal(ours(*data, p), data[0])  # the mean key alone holds more than a fifth of the energy


@pytest.mark.parametrize("size", ["many", "few"])
def test_sizes_of_the_real_models(size: str) -> None:
    tokens = 300 if size == "many" else 40
    data = batch(seed=4, photos=2, objects=3, tokens=tokens, dim=64, heads=2)
    for threshold in (0.8, 0.9, 0.99):
        p = Perturbation.paper(threshold=threshold)
        np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=2e-3)


def test_one_token() -> None:
    keys = torch.tensor([[[[3.0, 4.0], [7.0, 7.0]]]])
    coverage = torch.tensor([[[0.2, 0.0]]])
    queries = torch.tensor([[[[1.0, 0.0], [0.0, 5.0]]]])
    got = ours(queries, keys, coverage, torch.tensor([[0.1]]), Perturbation(scale=2.0))
    # P = (3, 4)(3, 4)^T / 25; q' = q + 2 q P
    torch.testing.assert_close(got, torch.tensor([[[[1 + 0.72, 0.96], [4.8, 5 + 6.4]]]]))


def test_negative_control_removes_nothing_for_objects_without_tokens() -> None:
    p = Perturbation(operator="orthogonal", scale=1.0)
    queries, keys, coverage, areas = batch(seed=5)
    assert torch.equal(ours(queries, keys, torch.zeros_like(coverage), areas, p), queries)
    assert torch.equal(projector(torch.zeros(3, 4), p), torch.zeros(4, 4))
    got = projector(torch.tensor([[2.0, 0.0]]), p)
    torch.testing.assert_close(got, torch.diag(torch.tensor([0.0, 1.0])))


OPERATORS = ["subspace", "orthogonal", "eigenvector-rows"]


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_work_queries_keep_every_bit(operator: str) -> None:
    queries, keys, coverage, areas = batch(seed=6)
    some = Perturbation(operator=operator)  # type: ignore[arg-type]
    assert torch.equal(ours(queries, keys, torch.zeros_like(coverage), areas, some), queries)
    assert torch.equal(ours(queries, keys, coverage[:, :0], areas[:, :0], some), queries)
    none = Perturbation(operator=operator, scale=0.0)  # type: ignore[arg-type]
    assert torch.equal(ours(queries, keys, coverage, areas, none), queries)
    coverage[1] = 0  # one photo of the batch is without objects
    got = ours(queries, keys, coverage, areas, some)
    assert torch.equal(got[1], queries[1])
    assert not torch.equal(got[0], queries[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    queries, keys, coverage, areas = batch(seed=7, tokens=60, dim=16)
    keys, queries = (keys * 100).to(dtype), queries.to(dtype)  # energies beyond fp16's 65504
    p = Perturbation.paper(scale=4)
    got = ours(queries, keys, coverage, areas, p)
    assert got.dtype == dtype
    want = reference(queries.float(), keys.float(), coverage, areas, p)
    np.testing.assert_allclose(got.float(), want, rtol=torch.finfo(dtype).eps, atol=5e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(queries, keys, coverage, areas, p), got)


def test_broken_keys_affect_only_their_own_photo() -> None:
    queries, keys, coverage, areas = batch(seed=8)
    want = ours(queries, keys, coverage, areas, Perturbation())
    keys[1] = torch.nan
    got = ours(queries, keys, coverage, areas, Perturbation())
    assert torch.equal(got[[0, 2]], want[[0, 2]])


examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10_000)
thresholds = st.sampled_from([0.3, 0.8, 0.9, 0.99])


@examples
@given(seed=seeds, tokens=st.integers(1, 40), dim=st.integers(1, 24), threshold=thresholds)
def test_projector_is_symmetric_and_idempotent(seed: int, tokens: int, dim: int, threshold: float) -> None:
    keys = torch.randn(2, tokens, dim, generator=torch.Generator().manual_seed(seed))
    for operator in OPERATORS:
        got = projector(keys, Perturbation(operator=operator, threshold=threshold))  # type: ignore[arg-type]
        torch.testing.assert_close(got, got.mT, atol=1e-5, rtol=0)
        torch.testing.assert_close(got @ got, got, atol=2e-3, rtol=0)


@examples
@given(seed=seeds, tokens=st.integers(2, 40), dim=st.integers(2, 16))
def test_projector_ignores_signs_of_keys_and_turns_with_them(seed: int, tokens: int, dim: int) -> None:
    g = torch.Generator().manual_seed(seed)
    keys, p = torch.randn(tokens, dim, generator=g) * torch.logspace(0, -1, dim), Perturbation(threshold=0.9)
    energies = torch.linalg.eigvalsh((keys.T @ keys).double()).flip(0).cumsum(0)
    if ((energies / energies[-1] - 0.9).abs() < 1e-4).any():
        return  # a tie, decided by rounding
    want = projector(keys, p)
    signs = torch.randint(0, 2, (tokens, 1), generator=g) * 2 - 1
    torch.testing.assert_close(projector(keys * signs, p), want, atol=1e-3, rtol=0)
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=g))
    torch.testing.assert_close(projector(keys @ turn, p), turn.T @ want @ turn, atol=1e-3, rtol=0)


@examples
@given(seed=seeds, combine=st.sampled_from(["sum", "mean"]), operator=st.sampled_from(OPERATORS))
def test_order_and_padding_of_objects_change_nothing(seed: int, combine: str, operator: str) -> None:
    queries, keys, coverage, areas = batch(seed=seed)
    p = Perturbation(combine=combine, operator=operator)  # type: ignore[arg-type]
    want = ours(queries, keys, coverage, areas, p)
    order = torch.randperm(coverage.shape[1], generator=torch.Generator().manual_seed(seed))
    permuted = ours(queries, keys, coverage[:, order], areas[:, order], p)
    padding = torch.zeros(3, 2, coverage.shape[2])
    padded = ours(queries, keys, torch.cat([padding, coverage], 1), torch.cat([torch.rand(3, 2), areas], 1), p)
    assert torch.equal(padded, want)
    torch.testing.assert_close(permuted, want, atol=1e-4, rtol=1e-5)


@examples
@given(seed=seeds, threshold=thresholds)
def test_any_batch_equals_the_reference(seed: int, threshold: float) -> None:
    data, p = batch(seed=seed), Perturbation.paper(scale=3, threshold=threshold)
    np.testing.assert_allclose(ours(*data, p), reference(*data, p), atol=3e-3)

"""Decompositions by threads, and those of a device that is wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pipeline.method import eigen
from pipeline.method.eigen import Checks, are_right, checked, eigh, on_cpu, take_checks
from pipeline.method.operator import projector
from pipeline.method.settings import Perturbation


def grams(count: int, size: int = 16, tokens: int = 40, seed: int = 0) -> Tensor:
    keys = torch.randn(count, tokens, size, generator=torch.Generator().manual_seed(seed))
    return keys.mT @ keys


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is compared with `torch.linalg.eigh` itself, which two threads make slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("inference", [False, True])
def test_threads_change_no_bit(count: int, inference: bool) -> None:
    with torch.inference_mode(inference), torch.no_grad():
        matrices = grams(count)
        alone = torch.linalg.eigh(matrices)
        torch.set_num_threads(2)
        for got, want in zip(on_cpu(matrices), alone, strict=True):
            assert torch.equal(got, want)
            assert got.stride() == want.stride()
            assert got.is_inference() == inference
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_any_number_of_leading_dimensions(shape: tuple[int, ...]) -> None:
    matrices = grams(24)[: torch.Size(shape).numel()].view(*shape, 16, 16)
    for got, want in zip(eigh(matrices), torch.linalg.eigh(matrices), strict=True):
        assert torch.equal(got, want)


def garbage(matrices: Tensor) -> tuple[Tensor, Tensor]:
    sigma, vectors = torch.linalg.eigh(matrices)
    vectors[1] = torch.randn(16, 16, generator=torch.Generator().manual_seed(1)) / 4
    return sigma, vectors


def not_finite(matrices: Tensor) -> tuple[Tensor, Tensor]:
    sigma, vectors = torch.linalg.eigh(matrices)
    sigma[1] = torch.nan
    return sigma, vectors


def of_another_matrix(matrices: Tensor) -> tuple[Tensor, Tensor]:
    sigma, vectors = torch.linalg.eigh(matrices)
    return sigma, vectors.index_copy(0, torch.tensor([1]), vectors[:1])


def in_another_order(matrices: Tensor) -> tuple[Tensor, Tensor]:
    sigma, vectors = torch.linalg.eigh(matrices)
    sigma[1], vectors[1] = sigma[1].flip(-1), vectors[1].flip(-1)
    return sigma, vectors


def twice_the_same_vector(matrices: Tensor) -> tuple[Tensor, Tensor]:
    sigma, vectors = torch.linalg.eigh(matrices)
    vectors[1, :, 0], sigma[1, 0] = vectors[1, :, 1], sigma[1, 1]
    return sigma, vectors


@pytest.mark.parametrize("wrong", [garbage, not_finite, of_another_matrix, in_another_order, twice_the_same_vector])
def test_a_wrong_matrix_is_repeated_and_the_others_are_kept(wrong: object) -> None:
    take_checks()
    matrices = grams(5)
    sigma, vectors = checked(matrices, wrong)  # type: ignore[arg-type]
    assert torch.equal(sigma, torch.linalg.eigh(matrices)[0])
    assert are_right(matrices, sigma, vectors).all()
    assert take_checks() == Checks(matrices=5, repeated=1)
    assert take_checks() == Checks()


@pytest.mark.parametrize("error", [NotImplementedError("mps"), torch.linalg.LinAlgError("does not converge")])
def test_what_a_device_cannot_do_the_cpu_does(error: Exception) -> None:
    def fails(matrices: Tensor) -> tuple[Tensor, Tensor]:
        raise error

    take_checks()
    matrices = grams(5)
    assert are_right(matrices, *checked(matrices, fails)).all()
    assert take_checks() == Checks(matrices=5, repeated=5)


def test_other_errors_are_raised() -> None:
    def full(matrices: Tensor) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        checked(grams(2), full)


@pytest.mark.parametrize("scale", [2.0**-60, 1.0, 2.0**60])
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_right_ones_are_not_repeated(scale: float, tokens: int) -> None:
    """Whatever their size and rank; a matrix of zeros too."""
    take_checks()
    checked(torch.cat([grams(50, 64, tokens) * scale, torch.zeros(1, 64, 64)]))
    assert take_checks() == Checks(matrices=51, repeated=0)


def test_subspaces_are_right_on_a_device_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = torch.randn(4, 30, 16, generator=torch.Generator().manual_seed(3))
    want = projector(keys, Perturbation.paper())
    right = torch.linalg.eigh
    calls = []

    def wrong_once(matrices: Tensor, **options: object) -> tuple[Tensor, Tensor]:
        calls.append(len(matrices))
        sigma, vectors = right(matrices, **options)
        return sigma, vectors.roll(1, -1) if len(calls) == 1 else vectors

    monkeypatch.setattr(eigen, "_TRUSTED", ())
    monkeypatch.setattr(torch.linalg, "eigh", wrong_once)
    take_checks()
    torch.testing.assert_close(projector(keys, Perturbation.paper()), want, atol=1e-6, rtol=0)
    assert calls == [4, 4]
    assert take_checks() == Checks(matrices=4, repeated=4)

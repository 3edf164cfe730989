"""Keys without what the keys of a photo share."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pipeline.method.backgrounds import distinctive_keys
from pipeline.method.operator import projector
from pipeline.method.settings import Perturbation

CENTRED, OUT = Perturbation(pca="centred"), Perturbation(pca="background-out")


def some_keys(seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 20, 8, generator=g) * torch.logspace(0, -1.5, 8) + torch.tensor([2.0, *[0.0] * 7])


def test_keys_stay_as_they_are_by_default() -> None:
    keys = some_keys()
    assert distinctive_keys(keys, None, Perturbation()) is keys


def test_the_mean_is_that_of_the_counted_keys() -> None:
    keys, counted = some_keys(), torch.ones(2, 20, dtype=torch.bool)
    counted[0, :5] = False
    got = distinctive_keys(keys, counted, CENTRED)
    torch.testing.assert_close(got[0], keys[0] - keys[0, :, 5:].mean(1, keepdim=True))
    torch.testing.assert_close(got[1], keys[1] - keys[1].mean(1, keepdim=True))
    keys[0, :, :5] = 1e6  # what does not count has no influence on the others
    torch.testing.assert_close(distinctive_keys(keys, counted, CENTRED)[0, :, 5:], got[0, :, 5:])


def test_equal_keys_leave_exactly_nothing() -> None:
    """And not the rounding errors of float32, whose subspace would be that of noise."""
    keys = (torch.randn(1, 1, 1, 8, generator=torch.Generator().manual_seed(3)) * 7).expand(1, 2, 300, 8)
    for setting in (CENTRED, OUT):
        assert not distinctive_keys(keys, None, setting).any()


def test_the_background_is_the_leading_share_of_all_counted_keys() -> None:
    keys, counted = some_keys(1), torch.ones(2, 20, dtype=torch.bool)
    counted[:, 0] = False
    got = distinctive_keys(keys, counted, OUT).double().numpy()
    for photo in range(2):
        for head in range(3):
            every = keys[photo, head, 1:].double().numpy()
            _, values, rows = np.linalg.svd(every, full_matrices=False)
            count = max(1, int((np.cumsum(values**2) / (values**2).sum() <= 0.9).sum()))
            own = keys[photo, head].double().numpy()
            np.testing.assert_allclose(got[photo, head], own - own @ rows[:count].T @ rows[:count], atol=1e-4)
            assert abs(got[photo, head] @ rows[:count].T).max() < 1e-4


def test_one_component_is_projected_out_at_least() -> None:
    keys = some_keys(2)
    got = distinctive_keys(keys, None, Perturbation(pca="background-out", background=0.01))
    _, _, rows = torch.linalg.svd(keys)
    torch.testing.assert_close((got @ rows[..., :1, :].mT).abs().max(), torch.tensor(0.0), atol=1e-4, rtol=0)
    assert got.abs().max() > 0.1


def test_half_precision_is_computed_in_float32() -> None:
    got = distinctive_keys(some_keys().bfloat16(), None, CENTRED)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.mean(2), torch.zeros(2, 3, 8), atol=1e-5, rtol=0)


def test_a_photo_of_nothing_but_padding_has_no_mean() -> None:
    keys = torch.zeros(1, 1, 4, 8)
    assert not distinctive_keys(keys, torch.zeros(1, 4, dtype=torch.bool), CENTRED).any()


def test_tiny_keys_keep_what_distinguishes_them() -> None:
    """float32 cannot hold their squares; only the ratios of keys matter."""
    keys = some_keys()
    for setting in (CENTRED, OUT):
        tiny, usual = distinctive_keys(keys * 2.0**-90, None, setting), distinctive_keys(keys, None, setting)
        torch.testing.assert_close(tiny * 2.0**90, usual, atol=1e-5, rtol=1e-4)


def test_nothing_is_left_of_a_strong_background() -> None:
    """Rounding of the long keys would pass for a direction of the short rest, and a threshold of 1 would keep it."""
    shared = torch.zeros(8).index_fill(0, torch.tensor([1, 4]), 1.0)
    keys = torch.randn(1, 1, 60, 8, generator=torch.Generator().manual_seed(5)) + 2000 * shared
    rest = distinctive_keys(keys, None, dataclasses.replace(OUT, background=0.1))
    leading = torch.linalg.eigh(keys[0, 0].double().mT @ keys[0, 0].double()).eigenvectors[:, -1]
    assert (rest[0, 0].double() @ leading).norm() < 2e-6 * rest.norm()
    assert torch.linalg.matrix_rank(projector(rest, Perturbation(threshold=1.0))[0, 0]) == 7

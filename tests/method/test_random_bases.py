"""Random orthonormal bases."""

from __future__ import annotations

import torch

from pipeline.method.random_bases import random_bases


def test_bases_are_orthonormal_and_the_seeds_own() -> None:
    bases = random_bases([(0, 1), (0, 2), (0, 1)], heads=3, dim=16)
    assert bases.dtype == torch.float32
    torch.testing.assert_close(bases.mT @ bases, torch.eye(16).expand(3, 3, 16, 16), atol=1e-5, rtol=0)
    assert torch.equal(bases[0], bases[2])
    assert (bases[0] - bases[1]).abs().max() > 0.1


def test_subspaces_have_no_preferred_direction() -> None:
    """The mean projector of rank p is p / d times the unit matrix."""
    bases = random_bases([(seed,) for seed in range(400)], heads=4, dim=6)[..., :2]
    mean = (bases @ bases.mT).flatten(0, 1).mean(0)
    torch.testing.assert_close(mean, torch.eye(6) / 3, atol=0.04, rtol=0)


def test_the_numbers_are_the_same_everywhere() -> None:
    got = random_bases([(5, 123456789012345678, 1)], heads=1, dim=2)[0, 0].abs()
    torch.testing.assert_close(got[0, 0].square() + got[0, 1].square(), torch.tensor(1.0))
    torch.testing.assert_close(got, torch.tensor(EXPECTED), atol=1e-5, rtol=0)


EXPECTED = [[0.73462564, 0.67847270], [0.67847270, 0.73462564]]

"""The sign-flip test: could the second set have been the first? Photos are flipped whole, with all their queries.

If nothing distinguishes the two sets, exchanging their outcomes on any photo gives an equally likely result. So the
null distribution is that of the figure's difference when each photo's outcomes are exchanged or not, by fair coins
(Fisher's randomisation test for pairs: Pitman, "Significance tests which may be applied to samples from any
populations", Supplement to JRSS 4, 1937). The captions of a photo, which succeed and fail together, are flipped
together. McNemar's test tosses a coin for each caption instead: where the five captions of a photo change together, it
finds a difference at the 5 % level in a third of the comparisons without any. With one query per photo, as from image
to text, both are the same binomial test.

A difference of recalls is a sum over photos, so its null distribution is exact: the sum of +-d with m photos of equal
|d| is a binomial distribution, and the distributions of different |d| are convolved. mR@K is no sum, so its null
distribution is drawn, from the exact distributions of the ten bins, which share no photo (unless copies of a photo show
its objects in different sizes: then all its outcomes are drawn together).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.retrieval.ranks import Ints

FLIPS = 9_999
"""Draws of the null distribution of mR@K; with the observed outcome, p is a multiple of 1/10,000."""

_STEP = 500
"""Draws at once."""

Float64 = npt.NDArray[np.float64]


def sign_flip_p(differences: npt.ArrayLike) -> float:
    """Exact two-sided p of paired outcomes, flipped photo by photo.

    Args:
        differences: [photos], queries of each photo that the second set gets right, less those that the first does.

    Returns:
        The probability of a sum at least as far from 0 as the one observed, if the signs were those of fair coins; 1
        where no photo differs.
    """
    values = np.asarray(differences).astype(np.int64)
    observed = abs(int(values.sum()))
    if observed == 0:
        return 1.0
    first, probabilities = _null(values)
    # The sum is 2 x - total, where x is what the photos with a + have; probabilities[i] is that of x = first + i.
    least = (observed + int(np.abs(values).sum())) // 2
    return min(1.0, 2 * float(probabilities[max(0, least - first) :].sum()))


def mean_recall_p(queries: Float64, first: Float64, second: Float64, *, seed: int) -> float:
    """Two-sided p of the difference of two mR@K, from drawn sign flips.

    The observed outcome counts as one of the draws, so that p is never 0 (Phipson and Smyth, "Permutation P-values
    should never be zero", 2010).

    Args:
        queries: [photos, bins], queries of each photo, all in its own bin unless it has copies.
        first: [photos, bins], those that the first set gets right.
        second: [photos, bins], those that the second set gets right.
        seed: of the draws.
    """
    filled = np.flatnonzero(queries.sum(axis=0) > 0)
    asked = queries.sum(axis=0)[filled]
    both = (first + second).sum(axis=0)[filled]
    changes = (second - first).astype(np.int64)[:, filled]
    generator = np.random.default_rng([seed, FLIPS])  # not the numbers that draw the photos of the bootstrap
    if ((changes != 0).sum(axis=1) > 1).any():
        drawn = _draw_together(changes, generator)
    else:
        drawn = np.stack([_draw(column, generator) for column in changes.T], axis=1)
    observed = changes.sum(axis=0)[None]
    differences = [
        np.abs(_harmonic_mean((both + change) / 2 / asked) - _harmonic_mean((both - change) / 2 / asked))
        for change in (drawn, observed)
    ]
    # The same outcome may differ in the last bits.
    at_least = int((differences[0] >= differences[1] - 1e-12).sum())
    return (1 + at_least) / (1 + FLIPS)


def flipped_means_p(differences: npt.ArrayLike, *, seed: int) -> Float64:
    """Two-sided p of means of paired differences that are no whole numbers, from drawn sign flips.

    Args:
        differences: float [n, figures], a row for each unit that is flipped; NaN where a figure leaves it out.
        seed: of the draws.

    Returns:
        float64 [figures].
    """
    values = np.nan_to_num(np.asarray(differences, np.float64))
    generator = np.random.default_rng([seed, FLIPS])
    observed = np.abs(values.sum(axis=0))
    at_least = np.ones(values.shape[1])
    for start in range(0, FLIPS, _STEP):
        positive = generator.integers(0, 2, (min(_STEP, FLIPS - start), len(values))).astype(np.float64)
        sums = np.abs(2 * (positive @ values) - values.sum(axis=0))
        at_least += (sums >= observed - 1e-12 * len(values)).sum(axis=0)
    p: Float64 = at_least / (1 + FLIPS)
    return p


def _null(values: Ints) -> tuple[int, Float64]:
    """The distribution of the sum of |d| over the photos whose sign is +: its first value, and probabilities from it.

    Probabilities below the smallest double are left out at both ends.
    """
    from scipy.stats import binom  # here, because importing it takes the better part of a second

    first, probabilities = 0, np.ones(1)
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        of_size = binom.pmf(np.arange(count + 1), count, 0.5)
        low, of_size = _trimmed(of_size)
        offset, probabilities = _trimmed(_convolved(probabilities, of_size, size))
        first += size * low + offset
    return first, probabilities


def _convolved(probabilities: Float64, of_size: Float64, size: int) -> Float64:
    """The distribution of a sum: one part has `probabilities`, the other is `size` times a number with `of_size`."""
    summed = np.zeros(len(probabilities) + size * (len(of_size) - 1))
    for rest in range(min(size, len(probabilities))):
        summed[rest::size] = np.convolve(probabilities[rest::size], of_size)
    return summed


def _trimmed(probabilities: Float64) -> tuple[int, Float64]:
    """Without the zeros at both ends, and how many were at the beginning."""
    positive = np.flatnonzero(probabilities)
    return int(positive[0]), probabilities[positive[0] : positive[-1] + 1]


def _draw(values: Ints, generator: np.random.Generator) -> Ints:
    """`FLIPS` sums of `values` with the signs of fair coins."""
    drawn = np.zeros(FLIPS, np.int64)
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        drawn += size * (2 * generator.binomial(count, 0.5, FLIPS) - count)
    return drawn


def _draw_together(values: Ints, generator: np.random.Generator) -> Ints:
    """`FLIPS` sums [FLIPS, bins] of the rows of `values` with the signs of fair coins."""
    some = values[(values != 0).any(axis=1)].astype(np.float64)
    parts = []
    for start in range(0, FLIPS, _STEP):
        positive = generator.integers(0, 2, (min(_STEP, FLIPS - start), len(some))).astype(np.float64)
        parts.append(2 * (positive @ some) - some.sum(axis=0))
    return np.concatenate(parts).round().astype(np.int64)


def _harmonic_mean(recalls: Float64) -> Float64:
    """Over the last axis; 0 where one of the recalls is."""
    with np.errstate(divide="ignore"):
        mean: Float64 = recalls.shape[-1] / (1 / recalls).sum(axis=-1)
    return mean

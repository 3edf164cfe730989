"""All half floats become the float32 that NumPy makes of them."""

from __future__ import annotations

import numpy as np

from pipeline.vectors.half_floats import scale_of, scaled


def test_all_finite_half_floats_are_converted_exactly():
    half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(-1, 2)
    result = scaled(half, np.empty((len(half) + 3, 2), np.float32)) * np.float32(scale_of(np.float16))
    assert np.array_equal(result.view(np.int32), half.astype(np.float32).view(np.int32))  # signs of zeros as well


def test_float32_stays_as_it_is():
    vectors = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    assert np.array_equal(scaled(vectors, np.empty((5, 3), np.float32)) * scale_of(np.float32), vectors)

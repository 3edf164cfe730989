"""Grids of a photo's own shape, as transformers cuts photos for SigLIP 2 NaFlex."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

from pipeline.errors import QpertError
from pipeline.method.native_grid import NativeGrid


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    patch=st.sampled_from([8, 14, 16]),
    most=st.sampled_from([1, 9, 256, 729, 1024]),
)
def test_shape_equals_transformers(width: int, height: int, patch: int, most: int) -> None:
    grid = NativeGrid(patch, most)
    rows, columns = grid.shape((width, height))
    assert (rows * patch, columns * patch) == get_image_size_for_max_num_patches(height, width, patch, most)
    assert rows * columns <= most
    assert grid.placement((width, height)) == (columns * patch, rows * patch, 0, 0)


def test_grids_by_hand() -> None:
    grid = NativeGrid(patch=16, max_patches=256)
    assert (grid.tokens, grid.prefix) == (256, 0)
    assert grid.shape((512, 512)) == (16, 16)
    assert grid.shape((640, 480)) == (14, 18)  # 252 of 256: a row or a column more is too many
    assert grid.shape((100_000, 10)) == (1, 256)
    assert grid.shape((1, 1)) == (7, 7)  # photos are enlarged a hundredfold at most
    assert NativeGrid(16, 256, prefix=5).tokens == 261
    for wrong in ((0, 256, 0), (16, 0, 0), (16, 256, -1)):
        with pytest.raises(QpertError, match="no token grid"):
            NativeGrid(*wrong)

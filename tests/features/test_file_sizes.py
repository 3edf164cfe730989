"""The sizes of blocks and files."""

from __future__ import annotations

import pytest

from pipeline.features.file_sizes import FILE_BYTES, block_rows, file_rows


@pytest.mark.parametrize(("todo", "rows"), [(None, 64), (0, 8), (100, 8), (500, 31), (10**9, 64)])
def test_block_sizes(todo: int | None, rows: int) -> None:
    assert block_rows(todo) == rows


@pytest.mark.parametrize("values", [768, 32 * 256])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_files_of_a_large_run_have_a_sensible_size(values: int, precision: str) -> None:
    rows = file_rows(10**9, 64, values, precision)
    size = rows * (values * (2 if precision == "float16" else 4) + 300)
    assert 0.99 * FILE_BYTES < size <= FILE_BYTES
    assert 64 * 2**20 <= FILE_BYTES <= 256 * 2**20


def test_a_small_run_is_committed_in_about_thirty_files() -> None:
    assert file_rows(3200, 8, 768) == 100
    assert file_rows(100, 8, 768) == 8
    assert file_rows(None, 64) == 8192

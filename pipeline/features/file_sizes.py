"""How many photos are in a block, the unit of work, and in a file, the unit of commitment."""

from __future__ import annotations

FILE_BYTES = 128 * 2**20
"""Size of a Parquet file of features in a large run."""
ROW_BYTES = 300
"""Size of a row without its embedding: id, URI, six objects."""
_FILES = 32


def block_rows(todo: int | None) -> int:
    """Photos per block: 64, or fewer in a small run, for some 16 blocks; `todo` is None if unknown."""
    return 64 if todo is None else max(8, min(64, todo // 16))


def file_rows(todo: int | None, block: int, values: int = 0, precision: str = "float16") -> int:
    """Photos per file: some 32 files, so that an interruption loses little, but at most `FILE_BYTES` each.

    Args:
        todo: photos to index; None if unknown.
        block: photos per unit of work.
        values: numbers in the embeddings of a photo; 0 if unknown.
        precision: how they are stored.
    """
    row = ROW_BYTES + values * (2 if precision == "float16" else 4)
    most = FILE_BYTES // row if values else 8192
    return max(block, min(most, (todo or 10**6) // _FILES))

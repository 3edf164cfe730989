"""How work and files are cut: photos per block, the unit of work, and per file, the unit of commitment."""

from __future__ import annotations

FILE_BYTES = 128 * 2**20
"""Of a Parquet file of features, in a large run."""
ROW_BYTES = 300
"""Of everything in a row but the embedding: id, URI, six objects."""
_FILES = 32


def block_rows(todo: int | None) -> int:
    """Photos per unit of work: 64, or as many as give some 16 units in a small run; `todo` None: unknown."""
    return 64 if todo is None else max(8, min(64, todo // 16))


def file_rows(todo: int | None, block: int, values: int = 0, precision: str = "float16") -> int:
    """Photos per file: some 32 files, so that little is lost when a run is cut off, but never more than `FILE_BYTES`.

    Args:
        todo: photos to index; None if unknown.
        block: photos per unit of work.
        values: numbers in a photo's embeddings; 0 if unknown.
        precision: in which they are stored.
    """
    row = ROW_BYTES + values * (2 if precision == "float16" else 4)
    most = FILE_BYTES // row if values else 8192
    return max(block, min(most, (todo or 10**6) // _FILES))

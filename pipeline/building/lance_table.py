"""A Lance table of the vectors of a set, a row each, brought up to date file by file.

Lance wants vectors of one length in a row, so a photo with V vectors has V rows. Every row names the features file that
it came from: so it can be told which files are missing in the table, and which of its rows no longer count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.building.set_files import SetPart, features_files
from pipeline.building.vector_rows import vector_rows
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.similarity import rows_per_block

if TYPE_CHECKING:
    from lance import FragmentMetadata, LanceDataset

VECTOR = "vector"
"""The column of the vectors, by the name that LanceDB looks for."""
INDEX = "vector_idx"
METRIC = "cosine"
"""Named wherever an index is made or searched: Lance's own default is L2, which an index of cosines does not serve."""
_IDS = 500
"""Ids in one condition of a deletion."""


def table_schema(features: FeatureSet) -> pa.Schema:
    """The columns of the table: `number` says which of a photo's vectors a row has."""
    value = {"float16": pa.float16(), "float32": pa.float32()}[features.manifest.precision]
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("number", pa.int32()),
            ("uri", pa.string()),
            ("file", pa.string()),
            (VECTOR, pa.list_(value, features.dim)),
        ]
    )


def rows_of_file(features: FeatureSet, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of the table for the photos of one features file that count."""
    schema, few = table_schema(features), SetPart.of(features, [name], removed=False).open()
    for block in few.iter_blocks(["image_id", "uri", "embedding"], rows_per_block(few)):
        vectors, rows, numbers = vector_rows(few, block)
        at = pa.array(rows)
        yield pa.record_batch(
            [
                block.column("image_id").take(at),
                pa.array(numbers.astype(np.int32)),
                block.column("uri").take(at),
                pa.repeat(pa.scalar(name), len(rows)),
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), features.dim),
            ],
            schema=schema,
        )


def write_files(place: str, part: SetPart) -> list[FragmentMetadata]:
    """Write the rows of some features files beside the table, which does not have them until they are committed."""
    from lance.fragment import write_fragments

    features = part.open()
    schema = table_schema(features)
    try:
        batches = (batch for name in part.names for batch in rows_of_file(features, name))
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        written: list[FragmentMetadata] = write_fragments(reader, place, schema=schema, mode="append")
    except QpertError as error:
        raise QpertError(*map(str, error.args)) from None  # a class that comes back from another process
    return written


def open_table(place: str) -> LanceDataset | None:
    """The table; None if there is none."""
    import lance

    try:
        return lance.dataset(place)
    except (ValueError, FileNotFoundError, OSError) as error:
        if "not found" in str(error).lower():
            return None
        raise QpertError(f"{place} cannot be opened as a Lance table: {str(error)[:200]}") from error


def photos_by_file(table: LanceDataset) -> Counter[str]:
    """Photos in the table for each features file, counted block by block."""
    counts: Counter[str] = Counter()
    for batch in table.scanner(columns=["file"], filter="number = 0").to_batches():
        for entry in batch.column("file").value_counts().to_pylist():
            counts[entry["values"]] += entry["counts"]
    return counts


def delete_rows(table: LanceDataset, features: FeatureSet, expected: Mapping[str, int]) -> Counter[str]:
    """Delete the rows of files and photos that no longer count; returns the photos left for each file.

    The rows of a file go all at once if photos of it are missing, as when removed ones count again.

    Args:
        table: to delete from.
        features: the set.
        expected: photos that count in each of its files.
    """
    removed = features_files(features).removed
    counts = photos_by_file(table)
    for name in [name for name, count in counts.items() if count > expected.get(name, 0) > 0]:
        ids = removed.ids(name)
        names = [] if ids is None else ids.to_pylist()
        for start in range(0, len(names), _IDS):
            listed = ", ".join(map(_quoted, names[start : start + _IDS]))
            table.delete(f"file = {_quoted(name)} AND image_id IN ({listed})")
    counts = photos_by_file(table)
    for name, count in counts.items():
        if count != expected.get(name, 0):
            table.delete(f"file = {_quoted(name)}")
    return photos_by_file(table)


def commit(place: str, table: LanceDataset | None, schema: pa.Schema, written: Sequence[FragmentMetadata]) -> Any:
    """Make rows that `write_files` wrote count, all in one step; returns the table as it is then."""
    import lance

    if table is None:
        return lance.LanceDataset.commit(place, lance.LanceOperation.Overwrite(schema, list(written)))
    return lance.LanceDataset.commit(place, lance.LanceOperation.Append(list(written)), read_version=table.version)


def _quoted(text: str) -> str:
    """A text literal of SQL."""
    return "'" + text.replace("'", "''") + "'"

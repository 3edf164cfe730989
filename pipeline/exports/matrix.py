"""Vectors as raw numbers between a header and an end, beside a table of what they are of."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exports.columns import REPEATED, VECTOR
from pipeline.exports.destination import output_stream
from pipeline.exports.job import Job, vectors_in, write_about

IDS = "ids.parquet"


def write_matrix(job: Job, name: str, before: bytes, after: Iterable[bytes]) -> None:
    """Writes the file `name` and ids.parquet, whose rows are those of the matrix, in its order.

    Args:
        job: what to write.
        name: of the file of vectors.
        before: its header.
        after: what follows its vectors.
    """
    names = [column for column in job.rows.schema.names if column != VECTOR]
    ids = pa.schema([job.rows.schema.field(column) for column in names])
    with output_stream(job.folder, name) as matrix, output_stream(job.folder, IDS) as table:
        matrix.write(before)
        with pq.ParquetWriter(table, ids, compression="zstd", use_dictionary=REPEATED) as writer:
            for batch in job.batches:
                matrix.write(pa.py_buffer(vectors_in(batch)))
                writer.write_table(pa.Table.from_batches([batch.select(names)]))
        for part in after:
            matrix.write(part)
    write_about(job)

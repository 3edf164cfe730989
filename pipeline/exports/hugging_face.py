"""An export as a folder that `datasets.load_dataset` reads: Parquet files and a data card."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exports.columns import REPEATED
from pipeline.exports.destination import output_stream
from pipeline.exports.job import Job, vectors_in, write_about

_PART_BYTES = 500_000_000
"""Bytes of vectors in a file."""
_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---

# Photo embeddings

Exported by `qpert export --to hf`: {count:,} rows.

"""


def write(job: Job) -> None:
    """Writes data/part-*.parquet and README.md; all rows are the split `train`."""
    part, batch = 0, next(job.batches, None)
    while batch is not None:
        size = 0
        with (
            output_stream(job.folder, "data", f"part-{part:05}.parquet") as file,
            pq.ParquetWriter(file, job.rows.schema, use_dictionary=REPEATED) as writer,
        ):
            while batch is not None and size < _PART_BYTES:
                writer.write_table(pa.Table.from_batches([batch]))  # a group of its own, so that none is gathered
                size += vectors_in(batch).nbytes
                batch = next(job.batches, None)
        part += 1
    lines = "".join(f"- {name}: `{json.dumps(value, ensure_ascii=False)}`\n" for name, value in job.about.items())
    with output_stream(job.folder, "README.md") as card:
        card.write((_CARD.format(count=job.count) + lines).encode())
    write_about(job)

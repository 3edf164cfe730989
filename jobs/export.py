"""Export features for other tools: LanceDB, FAISS, NumPy, Hugging Face datasets, tables.

Examples:
    qpert export features --to lance --out photos.lance
    qpert export january february 's3://bucket/part-*' --to faiss --out index/
    qpert export features --to hf --out dataset/ --pool mean
    qpert export features --to csv --out photos.csv --columns uri taken objects
    qpert export features --to npy --out vectors/ --dry-run      (rows and bytes, without writing)

Every row has a number (id) and the photo's image_id; photos that failed are left out. Vectors are those stored, bit for
bit, of length 1 up to the rounding of half floats; --precision float32 scales them as a search does. A photo's score is
the highest of its vectors: an index of rows per vector finds the nearest vectors, of which several may be of one photo.

An export appears at --out as a whole, or not at all; in object stores, export.json is written last. Memory does not
grow with the number of photos.
"""

from __future__ import annotations

from pydantic import Field

from pipeline.exports.spec import ExportSpec
from pipeline.printing import printable


class Config(ExportSpec):
    """The options of ``qpert export``."""

    dry_run: bool = Field(False, description="say how many rows and bytes it would be, and stop")


def run(config: Config) -> int:
    """Exports the features, or says what would be exported."""
    # Imported here, because --help must not wait for them.
    from pipeline.exports.exporting import Export
    from pipeline.runs.plan_text import size
    from pipeline.runs.status_line import Counting

    export = Export.plan(config, to_write=not config.dry_run)
    each = "vector" if export.rows.per_vector else "photo"
    what = f"{export.count:,} rows, one per {each}, of {export.photos:,} photos"
    if config.dry_run:
        print(f"would write {what}: about {size(export.bytes)} to {printable(config.out)}")
        return 0
    counting = Counting(f"of {export.count:,} rows exported")
    try:
        export.write(counting)
    finally:
        counting.end()
    print(f"{printable(config.out)}: {what}")
    return 0

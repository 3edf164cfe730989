"""The Parquet schema of ``features/*.parquet``, and how files of other writers and earlier versions compare to it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.features.manifest import Manifest
from pipeline.features.views import VIEWS_COLUMN
from pipeline.io.photo_state import PHOTO_STATE

OBJECT_TYPE = pa.struct(
    [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")] + [("label", pa.string()), ("score", pa.float32())]
)
DICTIONARY = ("error", "device", "dtype", "objects.list.element.label", "views.list.element.kind")
"""Columns stored with a dictionary, because their values repeat; embeddings never do."""
TAKEN = pa.field("taken", pa.timestamp("us"))
"""The column of dates, null in sets that lack it."""
_REQUIRED = ("image_id", "error")
_RESULTS = ("embedding", "scores")
"""The result for each photo, one of these: of indexing, or of matching, whose scores are stored in the same way."""
_OPTIONAL = ("object_embeddings", "tokens", VIEWS_COLUMN.name)
"""Further columns that some feature sets have."""
_LATER = ("dtype", *(field.name for field in PHOTO_STATE), "truncated", "taken")
"""Columns that the first feature sets lack."""


def features_schema(precision: str = "float16", *, with_objects: bool = False, with_views: bool = False) -> pa.Schema:
    """The columns of ``features/*.parquet``, whatever V (vectors per photo) and D (their length); see the manifest.

    Args:
        precision: ``float16`` or ``float32``; the latter for readers without half floats, such as Spark.
        with_objects: add the column `object_embeddings`: V vectors for each object that the encoder sees, in one list.
        with_views: add the column `views`, which says what each V vectors of a photo are (`pipeline.features.views`).

    Boxes are fractions (0..1) of the photo's width and height after its EXIF orientation; `largest_area` is a fraction
    of the photo and null without objects; `embedding` is V unit vectors of length D in one list of V * D numbers (with
    `views`, V for each of several parts of the photo), and null if the photo failed, with the reason in `error`;
    `device` and `dtype` tell where and in which number format it was computed; `seconds` is the time that detection and
    encoding of this photo took; `size`, `mtime` and `digest` tell whether the photo has changed since; `truncated`
    marks a photo that could be decoded only in part, where that is allowed; `taken` is when the photo was taken
    (`pipeline.io.images.taken`), local time as its camera's clock showed, without a zone. The type of `embedding` is a
    list of variable size because pyarrow before 26 cannot read one of fixed size that has a null.
    """
    value = {"float16": pa.float16(), "float32": pa.float32()}[precision]
    further = [("object_embeddings", pa.list_(value))] if with_objects else []
    views = [VIEWS_COLUMN] if with_views else []
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("uri", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("objects", pa.list_(OBJECT_TYPE)),
            ("largest_area", pa.float32()),
            ("embedding", pa.list_(value)),
            ("error", pa.string()),
            ("device", pa.string()),
            ("dtype", pa.string()),
            ("seconds", pa.float32()),
            *PHOTO_STATE,
            ("truncated", pa.bool_()),
            TAKEN,
            *further,
            *views,
        ]
    )


def missing_column(columns: Sequence[str]) -> str | None:
    """The first column that a file with `columns` lacks to be one of features or scores; None if it lacks none."""
    results = [] if any(column in columns for column in _RESULTS) else [_RESULTS[0]]
    return next((column for column in (*_REQUIRED, *results) if column not in columns), None)


def known_columns(stored: pa.Schema) -> pa.Schema:
    """The columns of a features file that this version knows, and `TAKEN` even if the file lacks it.

    The file may be one of an earlier version, in a set whose other files have the column.
    """
    names = [name for name in (*features_schema().names, *_OPTIONAL) if name in stored.names or name == TAKEN.name]
    return pa.schema([stored.field(name) if name in stored.names else TAKEN for name in names])


def mismatch(stored: pa.Schema, manifest: Manifest) -> str | None:
    """How a features file differs from what its manifest promises; None if it does not."""
    for field in features_schema(manifest.precision, with_views=bool(manifest.multi)):
        index = stored.get_field_index(field.name)
        if index < 0 and field.name in _LATER:
            continue
        if index < 0:
            return f"it has no column {field.name}"
        kind = stored.field(index).type
        if pa.types.is_fixed_size_list(kind) and kind.list_size == (manifest.vectors or 0) * (manifest.dim or 0):
            kind = pa.list_(kind.value_type)  # as other writers may store it
        # Parquet names the elements of a list in its own way, so compare the text of the types too.
        if not kind.equals(field.type) and str(kind) != str(field.type):
            return f"column {field.name} is {kind}, expected {field.type}"
    return None

"""The columns of an export: which there are, and their types."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.schema import features_schema
from pipeline.features.views import VIEW_TYPE, VIEWS_COLUMN

DEFAULT = ("uri", "width", "height", "taken", "objects")
ID, IMAGE_ID, PLACE, VIEW, VECTOR = "id", "image_id", "vector_number", "view", "vector"
REPEATED = (IMAGE_ID, "uri", "objects.list.element.label", f"{VIEW}.kind", "views.list.element.kind", "device", "dtype")
"""Columns of Parquet files whose values repeat, which are stored with a dictionary; vectors never are."""
_FURTHER = (pa.field("taken", pa.timestamp("us")),)
"""Columns that some versions of a feature set have."""
_OWN = ("image_id", "embedding", "error")
"""Columns that are exported always, as vectors, or never: photos that failed have no vectors."""


def known_columns() -> dict[str, pa.Field]:
    """The columns that may be chosen, by name."""
    fields = [*features_schema(), *_FURTHER]
    return {field.name: field for field in fields if field.name not in _OWN}


def chosen_columns(features: FeatureSet, names: Sequence[str] | None) -> list[pa.Field]:
    """The fields to export, null where the set lacks them.

    Args:
        features: the set.
        names: those chosen; None for the usual ones.

    Raises:
        QpertError: an unknown name.
    """
    known, stored = known_columns(), features.dataset.schema
    unknown = [name for name in names or () if name not in known and name != IMAGE_ID]
    if unknown:
        raise QpertError(f"there is no column {unknown[0]}; choose among {', '.join(known)}")
    wanted = dict.fromkeys(name for name in (DEFAULT if names is None else names) if name != IMAGE_ID)
    return [stored.field(name) if name in stored.names else known[name] for name in wanted]


def row_fields(columns: Sequence[pa.Field], *, per_vector: bool, several_views: bool) -> list[pa.Field]:
    """The fields of a row without its vectors.

    Args:
        columns: those of the features.
        per_vector: a row is a vector, and says which of its photo.
        several_views: the photos have several views, so that rows say what their vectors are of.
    """
    fields = [pa.field(ID, pa.int64()), pa.field(IMAGE_ID, pa.string())]
    if per_vector:
        fields.append(pa.field(PLACE, pa.int32()))
    if several_views:
        fields.append(pa.field(VIEW, VIEW_TYPE) if per_vector else VIEWS_COLUMN)
    return fields + list(columns)

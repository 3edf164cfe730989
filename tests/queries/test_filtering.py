"""The mask of filters equals looking at the photos one by one, and remarks say why it may be empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.photos.patterns import matches_any
from pipeline.errors import QpertError
from pipeline.features.schema import OBJECT_TYPE, features_schema
from pipeline.queries.filtering import PhotoFilter, allowed, remarks
from pipeline.queries.filters import Filters

COLUMNS = ("image_id", "uri", "width", "height", "taken", "objects")
SCHEMA = pa.schema([features_schema().field(name) for name in COLUMNS])
LABELS = ("dog", "Dog", "cat", "red car", None)
SIDES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])
OBJECTS = st.builds(
    lambda width, height, label: {"x0": 0.0, "y0": 0.0, "x1": width, "y1": height, "label": label, "score": 0.5},
    SIDES,
    SIDES,
    st.sampled_from(LABELS),
)
ROWS = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from(["a/b.jpg", "a.jpg", "b/a/c.png", "x[1].jpg", "a\nb/d.jpg"]),
        "uri": st.sampled_from(["/photos/a.jpg", "s3://bucket/a/b.jpg", None]),
        "width": st.sampled_from([None, 100, 640]),
        "height": st.sampled_from([None, 100, 480]),
        "taken": st.sampled_from([None, datetime(2020, 5, 17, 18), datetime(2020, 6, 1), datetime(2021, 1, 1)]),
        "objects": st.none() | st.lists(OBJECTS, max_size=4),
    }
)
WORDS = st.lists(st.sampled_from(["dog", "CAT", "red car", "bird"]), max_size=2, unique=True).map(tuple)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "has": WORDS,
        "smaller": st.sampled_from([0.25, 0.3, 1.0]),
        "larger": st.sampled_from([0.0, 0.0625, 0.1]),
        "path": st.lists(st.sampled_from(["a/*", "a", "*.jpg", "/photos/**", "s3://bucket/a", "x[1]*"]), max_size=2),
        "min_width": st.sampled_from([100, 101]),
        "min_height": st.just(480),
        "taken_from": st.sampled_from(["2020", "2020-05-17T18:00"]),
        "taken_to": st.sampled_from(["2020-05", "2021"]),
    },
)


def table(rows: list[dict[str, Any]], cuts: tuple[int, ...] = ()) -> pa.Table:
    """Photos in several chunks, each a slice of a longer array."""
    edges = [0, *sorted(cuts), len(rows)]
    parts = [pa.Table.from_pylist(rows[a:b], SCHEMA) for a, b in pairwise(edges)]
    doubled = [pa.concat_tables([part, part]).combine_chunks().slice(part.num_rows) for part in parts if part.num_rows]
    return pa.concat_tables(doubled) if doubled else SCHEMA.empty_table()


def meets(row: Mapping[str, Any], filters: Filters) -> bool:
    """The filters, read out one by one."""
    things = [(str(one["label"]).lower() if one["label"] else None, one) for one in row["objects"] or ()]
    labels = [label for label, _ in things]
    has = [label.lower() for label in filters.has]
    if not all(label in labels for label in has) or any(label.lower() in labels for label in filters.without):
        return False
    if filters.smaller is not None or filters.larger is not None:
        areas = [np.float32(one["x1"]) * np.float32(one["y1"]) for label, one in things if not has or label in has]
        low, high = filters.larger or 0, 2 if filters.smaller is None else filters.smaller
        if not any(low <= area < high for area in areas):
            return False
    if filters.path:
        against = [
            (pattern, row["uri" if pattern[0] == "/" or "://" in pattern else "image_id"]) for pattern in filters.path
        ]
        if not any(path is not None and matches_any([pattern], path) for pattern, path in against):
            return False
    for name, least in (("width", filters.min_width), ("height", filters.min_height)):
        if least is not None and (row[name] is None or row[name] < least):
            return False
    first, end = filters.period
    if (first or end) and row["taken"] is None:
        return False
    return not ((first and row["taken"] < first) or (end and row["taken"] >= end))


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(ROWS, max_size=12), given_filters=FILTERS, without=WORDS, cut=st.integers(0, 12))
def test_the_mask_is_that_of_looking_at_every_photo(
    rows: list[dict[str, Any]], given_filters: dict[str, Any], without: tuple[str, ...], cut: int
) -> None:
    without = tuple(label for label in without if label not in given_filters.get("has", ()))
    filters = Filters(**given_filters, without=without)
    mask = allowed(table(rows, (min(cut, len(rows)),)), filters)
    assert (mask is None) == (not filters)
    if mask is not None:
        assert mask.tolist() == [meets(row, filters) for row in rows]


@settings(max_examples=1000, deadline=None)
@given(pattern=st.text("ab/*?[]!^-.{},\\+ 0", min_size=1, max_size=8), path=st.text("ab/.-+0 \n", max_size=8))
def test_the_expression_of_a_pattern_matches_what_the_pattern_matches(pattern: str, path: str) -> None:
    path = path.strip("/")
    try:
        filters = Filters(path=(pattern,))
    except ValueError:
        return
    if pattern.startswith("/"):
        return
    rows = pa.table({"image_id": [path], "uri": [path]})
    assert allowed(rows, filters).tolist() == [matches_any([pattern], path)]  # type: ignore[union-attr]


def test_a_pattern_that_cannot_be_searched_for_is_refused() -> None:
    rows = pa.table({"image_id": ["a.jpg"], "uri": [""]})
    with pytest.raises(QpertError, match="cannot be searched for"):
        PhotoFilter(rows).allowed(Filters(path=("\ud800*",)))


def thing(label: str, side: float) -> dict[str, Any]:
    return {"x0": 0.0, "y0": 0.0, "x1": side, "y1": side, "label": label, "score": 0.5}


def photos(*objects: list[dict[str, Any]] | None, taken: datetime | None = None) -> pa.Table:
    row = {"uri": "", "width": 1, "height": 1, "taken": taken}
    return table([{**row, "image_id": str(number), "objects": one} for number, one in enumerate(objects)])


def test_a_size_is_that_of_an_object_asked_for() -> None:
    rows = photos([thing("dog", 0.5), thing("cat", 0.1)], [thing("dog", 0.1)], [thing("cat", 0.1)], [], None)
    assert PhotoFilter(rows).allowed(Filters(has=("dog",), smaller=0.1)).tolist() == [False, True, False, False, False]  # type: ignore[union-attr]
    assert PhotoFilter(rows).allowed(Filters(smaller=0.1)).tolist() == [True, True, True, False, False]  # type: ignore[union-attr]


def test_labels_may_be_a_dictionary() -> None:
    rows = photos([thing("Dog", 0.5)], [], [thing("cat", 0.1)])
    kind = pa.struct(
        [
            pa.field("label", pa.dictionary(pa.int32(), pa.string())) if one.name == "label" else one
            for one in OBJECT_TYPE
        ]
    )
    flat = rows["objects"].combine_chunks()
    things = pa.StructArray.from_arrays(
        [flat.flatten().field(one.name).cast(one.type) for one in kind], fields=list(kind)
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 1, 2], pa.int32()), things)
    rows = rows.set_column(rows.column_names.index("objects"), "objects", lists)
    assert PhotoFilter(rows).allowed(Filters(has=("dog",))).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert PhotoFilter(rows).label_counts() == {"dog": 1, "cat": 1}


def test_unknown_labels_are_remarked_with_similar_ones() -> None:
    sets = [PhotoFilter(photos([thing("dog", 0.5), thing("dog", 0.1)])), PhotoFilter(photos([thing("person", 0.5)]))]
    assert remarks(sets, Filters(has=("DOG", "person"))) == []
    assert remarks(sets, Filters(has=("dogs",))) == ["no photo has an object labelled 'dogs'; did you mean dog?"]
    (line,) = remarks(sets, Filters(without=("zebra",)))
    assert line == "no photo has an object labelled 'zebra'; labels are, for example: dog, person"


@pytest.mark.parametrize(
    ("filters", "effect"), [({"has": "dog"}, "none meets"), ({"without": "dog"}, "none is left out")]
)
def test_sets_without_objects_are_remarked(filters: dict[str, Any], effect: str) -> None:
    for objects in ([], None):
        (line,) = remarks([PhotoFilter(photos(objects))], Filters(**filters))
        assert effect in line
        assert "without a detector" in line


def test_missing_dates_are_remarked() -> None:
    filters = Filters(taken_from="2020")
    without, dated = PhotoFilter(photos([], [])), PhotoFilter(photos([], taken=datetime(2020, 1, 1) + timedelta(1)))
    assert "no photo has a date" in remarks([without], filters)[0]
    assert remarks([without, dated], filters) == ["2 of 3 photos have no date and do not meet the dates"]
    assert remarks([dated], filters) == []
    assert remarks([without], Filters()) == []

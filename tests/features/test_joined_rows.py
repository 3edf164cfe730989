"""The rows of several sets, as one dataset."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from pipeline.features.joined_rows import JoinedRows


@pytest.fixture
def joined():
    first = pa.table(
        {"image_id": ["a", "b"], "error": [None, "bad"], "vector": pa.array([[1], [2]], pa.list_(pa.float16()))}
    )
    second = pa.table(
        {"vector": pa.array([[0.1]], pa.list_(pa.float32())), "image_id": ["c"], "more": [1], "error": [None]}
    )
    second = second.set_column(3, "error", pa.array([None], pa.string()))
    return JoinedRows((ds.dataset(first), ds.dataset(second)))


def test_the_columns_are_those_of_all(joined):
    assert joined.schema.names == ["image_id", "error", "vector"]
    assert joined.schema.field("vector").type == pa.list_(pa.float32())


def test_rows_come_set_after_set_in_one_type(joined):
    rows = joined.to_table()
    assert rows.schema == joined.schema
    assert rows.column("image_id").to_pylist() == ["a", "b", "c"]
    assert rows.column("vector").to_pylist() == [[1.0], [2.0], [pytest.approx(0.1)]]


def test_columns_are_chosen_and_rows_filtered_and_counted(joined):
    fine = pc.field("error").is_null()
    assert joined.to_table(["image_id"], fine).to_pydict() == {"image_id": ["a", "c"]}
    assert joined.count_rows() == 3
    assert joined.count_rows(fine) == 2
    assert [batch.num_rows for batch in joined.to_batches(["image_id"], batch_size=1)] == [1, 1, 1]

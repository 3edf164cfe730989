"""Photos with several views: which vectors belong to which, in blocks, and what is wrong with a damaged set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from pipeline.features.views import VIEWS, View, vector_groups, views_to_arrow
from tests.features.viewed import write_views

KINDS = [["region", "tile"], [], ["crop"], None, ["tile", "tile", "region"]]


def by_hand(features: FeatureSet, stored, kinds, wanted, variant=0, variants=1):
    """The vectors of the chosen views of each photo, in a list."""
    found = []
    for vectors, of_photo in zip(stored, [k for k in kinds if k is not None], strict=True):
        whole, further = vectors[variant], vectors[variants:]
        names = ["whole", *of_photo]
        chosen = [v for v, name in zip([whole, *further], names, strict=True) if wanted is None or name in wanted]
        found.append(np.concatenate(chosen or [whole]))
    return found


@pytest.mark.parametrize("wanted", [None, ("whole",), ("whole", "region"), ("tile",), ("cluster",), ("crop", "region")])
@pytest.mark.parametrize("variant", [None, "two"])
def test_vectors_of_some_views(tmp_path: Path, wanted: tuple[str, ...] | None, variant: str | None) -> None:
    variants = ("one", "two") if variant else ()
    features, stored = write_views(tmp_path / "f", KINDS, variants=variants, variant=variant)
    (block,) = features.iter_blocks(["embedding", "views"])
    got = features.view_embeddings(block, wanted)
    want = by_hand(features, stored, KINDS, wanted, 1 if variant else 0, len(variants) or 1)
    most = max(map(len, want))
    assert got.shape == (4, most, 8)
    for row, vectors in zip(got, want, strict=True):
        assert np.array_equal(row[: len(vectors)], vectors)
        extra = {vector.tobytes() for vector in row}  # filled up with vectors of its own, which change no maximum
        assert extra == {vector.tobytes() for vector in vectors.astype(row.dtype)}
    if wanted is None:
        assert np.array_equal(features.embeddings(block), got)


def test_a_block_may_be_a_slice(tmp_path: Path) -> None:
    features, stored = write_views(tmp_path / "f", KINDS)
    (block,) = features.iter_blocks(["embedding", "views"])
    part = features.view_embeddings(block.slice(2, 2), ("tile", "crop"))
    assert np.array_equal(part[0, :2], stored[2][1])
    assert np.array_equal(part[1, :4], stored[3][1:3].reshape(4, 8))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.lists(st.sampled_from(VIEWS[1:]), max_size=4), min_size=1, max_size=6),
    wanted=st.sets(st.sampled_from(VIEWS), min_size=1),
)
def test_any_views(tmp_path_factory: pytest.TempPathFactory, kinds: list[list[str]], wanted: set[str]) -> None:
    features, stored = write_views(tmp_path_factory.mktemp("any") / "f", kinds, vectors=1, dim=4)
    (block,) = features.iter_blocks(["embedding", "views"])
    for row, vectors in zip(
        features.view_embeddings(block, tuple(wanted)), by_hand(features, stored, kinds, wanted), strict=True
    ):
        assert np.array_equal(row[: len(vectors)], vectors)
        assert {v.tobytes() for v in row} == {v.tobytes() for v in vectors.astype(row.dtype)}


def test_a_view_reads_back_and_says_what_it_is() -> None:
    view = View("crop", (0.125, 0.25, 0.5, 1.0))
    column = views_to_arrow([[View("whole"), view], None, []])
    assert column.to_pylist()[1:] == [None, []]
    assert [View.of(row) for row in column.to_pylist()[0]] == [View("whole"), view]
    assert (View("whole").text(), view.text()) == ("whole", "crop 12,25-50,100")


def test_lists_that_are_no_whole_vectors_are_refused() -> None:
    for rows in ([[1.0] * 7], [[]]):
        with pytest.raises(ValueError, match="other lengths"):
            vector_groups(pa.array(rows, pa.list_(pa.float16())), 2)


def rewrite(folder: Path, change) -> None:
    path = folder / "features" / "part_0-0.parquet"
    table = change(pq.read_table(path))
    pq.write_table(table, path)


def without_last(table: pa.Table) -> pa.Table:
    """The first photo has lost the last vectors of its views."""
    values = table["embedding"].to_pylist()
    values[0] = values[0][:-16]
    return table.set_column(
        table.column_names.index("embedding"), "embedding", pa.array(values, pa.list_(pa.float16()))
    )


def test_verify_compares_vectors_with_views(tmp_path: Path) -> None:
    write_views(tmp_path / "f", KINDS)
    assert FeatureStore(str(tmp_path / "f")).verify().problems == ()
    write_views(tmp_path / "v", KINDS, variants=("one", "two"), variant="one")
    assert FeatureStore(str(tmp_path / "v")).verify().problems == ()
    write_views(tmp_path / "g", KINDS)
    rewrite(tmp_path / "g", without_last)
    (problem,) = FeatureStore(str(tmp_path / "g")).verify().problems
    assert "1 embeddings of other lengths than their views" in problem
    features = FeatureSet.open(str(tmp_path / "g"))
    (block,) = features.iter_blocks(["embedding", "views"])
    with pytest.raises(QpertError, match="other lengths than their views"):
        features.view_embeddings(block, ("tile",))


def test_a_set_that_promises_views_must_have_them(tmp_path: Path) -> None:
    write_views(tmp_path / "f", KINDS)
    rewrite(tmp_path / "f", lambda table: table.drop_columns(["views"]))
    with pytest.raises(QpertError, match="no column views"):
        FeatureSet.open(str(tmp_path / "f"))
    problems = FeatureStore(str(tmp_path / "f")).verify().problems
    assert any("4 embeddings of other lengths than their views" in line for line in problems)


def test_compacting_keeps_the_views(tmp_path: Path) -> None:
    features, _ = write_views(tmp_path / "f", KINDS, files=3)
    before = features.dataset.to_table().sort_by("image_id")
    assert FeatureStore(str(tmp_path / "f")).compact().before == 3
    after = FeatureSet.open(str(tmp_path / "f"))
    assert after.dataset.to_table().sort_by("image_id").equals(before)
    assert len(after.files.names if hasattr(after, "files") else after.dataset.files.names) == 1

"""Safe reading of Parquet: extension types are refused, and no code in a file runs."""

from __future__ import annotations

import base64
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data  # noqa: F401 - registers its extension types, as every process of a run does
from pyarrow import fs
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType
from ray.data.extensions import ArrowTensorArray

from pipeline.errors import QpertError
from pipeline.io import parquet as tables
from pipeline.io.parquet import check_tables, open_table, read_table
from tests.payloads import Touch

TEXT = pa.array(["a", "b"])


def extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def pickled(path: Path) -> pa.Array:
    program = pickle.dumps(Touch(str(path)))
    return extension(ArrowPythonObjectType(), pa.array([program, program], pa.large_binary()))


UUID = extension(pa.uuid(), pa.array([b"0123456789abcdef"] * 2, pa.binary(16)))
FORMS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "x": lambda values: values,
    "x.item": lambda values: pa.ListArray.from_arrays(pa.array([0, 1, 2]), values),
    "x.in": lambda values: pa.StructArray.from_arrays([values], ["in"]),
    "x.entries.value": lambda values: pa.MapArray.from_arrays(pa.array([0, 1, 2]), TEXT, values),
    "x.in.item": lambda values: pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(pa.array([0, 1, 2]), values)], ["in"]
    ),
}


@pytest.mark.parametrize("place", FORMS)
def test_a_program_in_a_column_never_runs(tmp_path: Path, place: str) -> None:
    path, ran = tmp_path / "t.parquet", tmp_path / "ran"
    pq.write_table(pa.table({"id": TEXT, "x": FORMS[place](pickled(ran))}), path)
    for use in (read_table, lambda _: check_tables(str(tmp_path)), lambda name: read_table(name, ["id"])):
        with pytest.raises(QpertError, match=rf"column {place} is ray\.data\.arrow_pickled_object"):
            use(str(path))
    assert not ran.exists()
    if place == "x":  # the payload works: unchecked, it does run
        pq.read_table(path)["x"][0].as_py()
        assert ran.exists()


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (UUID, "arrow.uuid"),
        (extension(pa.json_(), pa.array(["1", "2"])), "arrow.json"),
        (extension(pa.bool8(), pa.array([0, 1], pa.int8())), "arrow.bool8"),
        (extension(pa.opaque(pa.string(), "t", "v"), TEXT), "arrow.opaque"),
        (extension(pa.fixed_shape_tensor(pa.int8(), (1,)), pa.array([[1], [2]], pa.list_(pa.int8(), 1))), "arrow.fixe"),
        (ArrowTensorArray.from_numpy(np.array([[1], [2]])), "ray.data.arrow_tensor"),
        (pa.DictionaryArray.from_arrays([0, 1], UUID), "arrow.uuid"),
    ],
)
def test_every_extension_type_is_refused_by_name(tmp_path: Path, column: pa.Array, name: str) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "t.parquet")
    with pytest.raises(QpertError, match=rf"t\.parquet has Arrow extension types.* column x is {name}.*plain columns"):
        read_table(str(tmp_path / "t.parquet"))


def test_unregistered_extension_types_are_refused_too(tmp_path: Path) -> None:
    marked = pa.field("x", pa.string(), metadata={"ARROW:extension:name": "some.thing", "ARROW:extension:metadata": ""})
    pq.write_table(pa.table([TEXT], schema=pa.schema([marked])), tmp_path / "t.parquet")
    with pytest.raises(QpertError, match=r"column x is some\.thing"):
        read_table(str(tmp_path / "t.parquet"))


def test_a_second_schema_in_the_metadata_is_searched_too(tmp_path: Path) -> None:
    """Readers differ in which of the two they use; the searched bytes hold both."""
    path = tmp_path / "t.parquet"
    plain, harmful = pa.schema([("x", pa.binary())]), pa.schema([("x", ArrowPythonObjectType())])
    entries = {key: base64.b64encode(schema.serialize().to_pybytes()) for key, schema in (("a", plain), ("b", harmful))}
    pq.write_table(
        pa.table([pa.array([b"1"])], schema=plain.with_metadata({"ARROW:schemb": entries["b"]})),
        path,
    )
    path.write_bytes(path.read_bytes().replace(b"ARROW:schemb", b"ARROW:schema"))
    with pytest.raises(QpertError, match=r"x is ray\.data\.arrow_pickled_object"):
        read_table(str(path))


def test_names_are_found_at_every_alignment_in_base64() -> None:
    draw = random.Random(0)
    for _ in range(300):
        before, after = draw.randbytes(draw.randrange(40)), draw.randbytes(draw.randrange(40))
        text = base64.b64encode(before + tables._NAME + after)
        assert any(form in text for form in tables._in_base64(tables._NAME))
        assert not any(form in base64.b64encode(before + after) for form in tables._in_base64(tables._NAME))


def test_logical_types_of_other_writers_are_read_as_their_storage_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": UUID, "j": extension(pa.json_(), TEXT)}), path, store_schema=False)
    assert read_table(str(path)).schema.types == [pa.binary(16), pa.string()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), r"not a Parquet file that can be read: .*empty"),
        (lambda path: path.write_bytes(b"PAR1"), "not a Parquet file that can be read"),
        (lambda path: path.write_bytes(b"PAR1" + b"\xff" * 20 + b"PAR1"), "not a Parquet file that can be read"),
        (lambda path: path.write_bytes(os.urandom(500) + b"\x40\0\0\0PAR1"), "not a Parquet file that can be read"),
        (lambda path: path.mkdir(), "not a Parquet file that can be read"),
        (lambda path: None, "^file not found: "),
    ],
)
def test_damaged_and_missing_files_are_named(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    path = tmp_path / "t.parquet"
    make(path)
    with pytest.raises(QpertError, match=message):
        read_table(str(path))


def test_all_files_of_a_folder_are_checked(tmp_path: Path) -> None:
    check_tables(str(tmp_path / "nowhere"))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "fine.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    check_tables(f"file://{tmp_path}")
    pq.write_table(pa.table({"x": UUID}), tmp_path / "deep" / "er" / "odd")
    with pytest.raises(QpertError, match=r"odd has Arrow extension types"):
        check_tables(str(tmp_path))


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = pa.string()
    for _ in range(40):
        deep = pa.struct([("in", deep)])
    pq.write_table(pa.table({"x": pa.nulls(1, deep)}), tmp_path / "deep.parquet")
    pq.write_table(pa.table({str(n): [n] for n in range(20)}), tmp_path / "wide.parquet")
    with pytest.raises(QpertError, match="not a Parquet file that can be read"):
        read_table(str(tmp_path / "deep.parquet"))
    monkeypatch.setattr(tables, "MAX_COLUMNS", 19)
    with pytest.raises(QpertError, match="20 columns, limit 19"):
        read_table(str(tmp_path / "wide.parquet"))
    monkeypatch.setattr(tables, "MAX_FOOTER", 100)
    with pytest.raises(QpertError, match="bytes of metadata, limit 100"):
        read_table(str(tmp_path / "wide.parquet"))


def test_a_path_within_a_file_system(tmp_path: Path) -> None:
    path, column = tmp_path / "t.parquet", [0x1122334455667788]
    pq.write_table(
        pa.table({"x": column}),
        path,
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    inside = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    assert read_table("t.parquet", filesystem=inside)["x"].to_pylist() == column
    with open_table(f"file://{path}", checksums=True) as table:
        assert table.read()["x"].to_pylist() == column
    value = column[0].to_bytes(8, "little")
    path.write_bytes(path.read_bytes().replace(value, value[::-1], 1))
    assert read_table(str(path))["x"].to_pylist() != column
    with (
        pytest.raises(QpertError, match="not a Parquet file that can be read"),
        open_table(str(path), checksums=True) as t,
    ):
        t.read()

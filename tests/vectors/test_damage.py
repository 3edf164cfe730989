"""Indexes that are damaged, or somebody else's: never wrong answers, never a crash, always said."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from pipeline.errors import QpertError
from pipeline.vectors import approximate, photo_index
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.quantiser import quantiser_digest
from pipeline.vectors.shard_writing import file_digest
from tests.vectors.indexing import build_index
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, remove, write_set

RNG = np.random.default_rng(0)
QUERY = random_queries(RNG, 1, 8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "EXACT_VECTORS", 0)
    write_set(tmp_path / "set", [grid(RNG, 2, 8) for _ in range(60)], 2, files=3)
    build_index(tmp_path / "set", "ivf-sq8", per_shard=1 << 30, lists=8, probes=4, rescored=1000)
    assert open_snapshot(str(tmp_path / "set"), cache=False).approximate
    return tmp_path / "set"


@pytest.fixture
def photo_root(tmp_path, monkeypatch):
    """A set with an index of the kind photo-pq."""
    monkeypatch.setattr(photo_index, "EXACT_VECTORS", 0)
    write_set(tmp_path / "set", [grid(RNG, 3, 8) for _ in range(60)], 3, files=3)
    build_index(tmp_path / "set", "photo-pq", per_shard=1 << 30, shortlist=1.0, rescored=1000)
    assert open_snapshot(str(tmp_path / "set"), cache=False).approximate
    return tmp_path / "set"


def shard(root):
    (folder,) = (root / "search" / "all" / "shards").iterdir()
    return folder


def edit(root, change):
    """Change the manifest as JSON."""
    path = root / "search" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def note_sizes(root):
    """Make the manifest say what the files are now, as somebody would who means harm."""

    def change(manifest):
        (note,) = manifest["indexes"]["all"]["shards"].values()
        note["sizes"] = {path.name: path.stat().st_size for path in shard(root).iterdir()}
        note["digests"] = {path.name: file_digest(str(path)) for path in shard(root).iterdir()}

    edit(root, change)


def assert_said_and_right(root, match):
    snapshot = open_snapshot(str(root), cache=False)
    assert any(match in note for note in snapshot.notes), snapshot.notes
    assert answers(snapshot, QUERY, 12) == [brute_force(root, QUERY[0], 12)]
    return snapshot


@pytest.mark.parametrize("name", ["photos.arrow", "vectors.npy", "lengths.npy", "lists.bin", "lists.npy"])
@pytest.mark.parametrize("how", ["gone", "short", "long", "empty", "folder"])
def test_files_that_are_lost_or_of_another_size(root, name, how):
    path = shard(root) / name
    data = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes({"short": data[:-9], "long": data + b"x", "empty": b""}[how])
    snapshot = assert_said_and_right(root, name)
    assert [type(part.vectors) for part in snapshot.parts] == [ParquetRows]
    if how != "folder":
        open_snapshot(str(root))  # a cache is not made over it: the index has to be built again
        if how in ("long", "empty", "short"):
            note_sizes(root)
            assert_said_and_right(root, "shards")


def test_headers_of_arrays_are_not_believed(root):
    path = shard(root) / "vectors.npy"
    data = path.read_bytes()
    for header in (
        {"descr": "<f2", "fortran_order": False, "shape": (10**12, 8)},
        {"descr": "<f2", "fortran_order": True, "shape": (120, 8)},
        {"descr": "<f4", "fortran_order": False, "shape": (60, 8)},
        {"descr": "|O", "fortran_order": False, "shape": (120, 8)},
        {"descr": "<f2", "fortran_order": False, "shape": (-120, -8)},
    ):
        text = repr(header).encode()
        path.write_bytes(data[:10] + text.ljust(117) + b"\n" + data[128:])
        assert_said_and_right(root, "vectors.npy")
    path.write_bytes(pickle.dumps(open).ljust(len(data)))
    assert_said_and_right(root, "vectors.npy")


def test_stored_vectors_that_are_not_numbers_are_refused(root):
    path = shard(root) / "lengths.npy"
    data = bytearray(path.read_bytes())
    data[128:132] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with pytest.raises(QpertError, match="damaged"):
        open_snapshot(str(root), cache=False).search(QUERY, 12, exact=True)


def test_a_file_that_becomes_shorter_while_it_is_open_is_an_error(root):
    snapshot = open_snapshot(str(root), cache=False)
    os.truncate(shard(root) / "vectors.npy", 500)
    with pytest.raises(QpertError, match="ends early"):
        snapshot.search(QUERY, 12, exact=True)


def test_lists_of_impossible_sizes(root):
    path = shard(root) / "lists.npy"
    data = path.read_bytes()
    sizes = np.frombuffer(data[128:], np.int64)
    for wrong in (sizes * -1, sizes + 1, np.array([2**62, -(2**62), *sizes[2:]]), np.roll(sizes, 1) * 2):
        path.write_bytes(data[:128] + wrong.astype(np.int64).tobytes())
        assert_said_and_right(root, "lists")


def test_numbers_that_lead_nowhere_are_dropped(root):
    path = shard(root) / "lists.bin"
    data = bytearray(path.read_bytes())
    sizes = np.frombuffer((shard(root) / "lists.npy").read_bytes()[128:], np.int64)
    at = 8 * int(sizes[0])  # one code has eight bytes
    wrong = np.resize(np.array([2**40, -5, 2**62, -(2**63)], np.int64), int(sizes[0]))
    data[at : at + wrong.nbytes] = wrong.tobytes()
    path.write_bytes(data)
    snapshot = open_snapshot(str(root), cache=False)
    assert snapshot.approximate
    rest = answers(snapshot, QUERY, 12)[0]
    assert {*rest} <= {*brute_force(root, QUERY[0], 60)}
    allowed = np.arange(60) % 2 == 0  # with a selector, which is asked about each number
    assert all(number % 2 == 0 for number in snapshot.search(QUERY, 12, allowed=allowed)[0].photos)


@pytest.mark.parametrize("how", ["gone", "digest", "garbage", "shape", "nan", "other", "huge"])
def test_a_quantiser_that_is_not_what_it_should_be(root, how):
    (path,) = (root / "search" / "all").glob("quantiser-*")
    tensors = load(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "digest":
        path.write_bytes(save({**tensors, "centroids": tensors["centroids"] + 1}))
    else:
        changed = {
            "garbage": b"\xff" * 100,
            "shape": save({**tensors, "centroids": tensors["centroids"][:5].copy()}),
            "nan": save({**tensors, "centroids": tensors["centroids"] * np.float32(np.nan)}),
            "other": save({**tensors, "further": np.zeros(3)}),
            "huge": save({**tensors, "further": np.zeros(1 << 16)}),
        }[how]
        path.write_bytes(changed)
        edit(root, lambda manifest: manifest["indexes"]["all"].update(quantiser_digest=quantiser_digest(changed)))
    snapshot = assert_said_and_right(root, "qpert build-index")
    assert not snapshot.approximate
    assert not isinstance(snapshot.parts[0].vectors, ParquetRows)  # the stored vectors are still good


def test_extension_types_are_never_built(root):
    class Evil(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.string(), "evil")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            raise AssertionError("built")

    path = shard(root) / "photos.arrow"
    with pa.ipc.open_file(path) as reader:
        table = reader.read_all()
    ids = pa.ExtensionArray.from_storage(Evil(), table["image_id"].combine_chunks())
    table = table.set_column(1, pa.field("image_id", ids.type), ids)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    note_sizes(root)
    pa.register_extension_type(Evil())
    try:
        assert_said_and_right(root, "extension types")
    finally:
        pa.unregister_extension_type("evil")


def test_offsets_of_text_that_lead_nowhere(root):
    path = shard(root) / "photos.arrow"
    with pa.ipc.open_file(path) as reader:
        table = reader.read_all()
    ids = table["image_id"].combine_chunks()
    offsets = np.frombuffer(ids.buffers()[1], np.int32).copy()
    offsets[20:40] += 1 << 28  # those at both ends are looked at when the file is opened
    wrong = pa.Array.from_buffers(pa.string(), len(ids), [None, pa.py_buffer(offsets), ids.buffers()[2]])
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_batch(
            pa.RecordBatch.from_arrays(
                [wrong if n == "image_id" else table[n].combine_chunks() for n in table.column_names],
                schema=table.schema,
            )
        )
    note_sizes(root)
    snapshot = open_snapshot(str(root), cache=False)
    with pytest.raises(QpertError, match="column image_id of the index is damaged"):
        snapshot.search(QUERY, 3)


def test_a_damaged_features_file_is_named(root):
    write_set(root, [grid(RNG, 2, 8) for _ in range(5)], 2, first=800)
    (path,) = (root / "features").glob("part00800*")
    data = bytearray(path.read_bytes())
    data[200:260] = b"\xaa" * 60
    path.write_bytes(data)
    with pytest.raises(QpertError, match="part00800"):
        open_snapshot(str(root), cache=False).search(QUERY, 3)


def test_damaged_ids_of_a_shard_with_removed_rows(root):
    """Removed rows are looked up by their ids when a set is opened."""
    remove(root, [brute_force(root, QUERY[0], 1)[0][0]])
    path = shard(root) / "photos.arrow"
    data = path.read_bytes()
    first = data.index(b".jpg")  # in an id
    path.write_bytes(data[:first] + b"\xff" + data[first + 1 :])
    snapshot = open_snapshot(str(root), cache=False)
    assert "photos.arrow is damaged" in snapshot.notes[0]
    assert answers(snapshot, [QUERY[0]], 5) == [brute_force(root, QUERY[0], 5)]


def test_an_index_that_claims_more_photos_of_a_file_than_there_are(tmp_path):
    root = tmp_path / "other"
    write_set(root, [grid(RNG, 2, 8) for _ in range(60)], 2, files=3)
    build_index(root, "ivf-sq8", per_shard=1 << 30, lists=8, probes=4, keep_vectors=False)

    def change(manifest):
        (note,) = manifest["indexes"]["all"]["shards"].values()
        first, second, _ = note["files"].values()
        first["photos"], second["photos"] = first["photos"] + 5, second["photos"] - 5

    edit(root, change)
    with pytest.raises(QpertError, match="fewer photos"):
        open_snapshot(str(root), cache=False).vectors_of(range(60))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_manifest_that_is_a_pipe_is_not_waited_for(root):
    (root / "search" / "manifest.json").unlink()
    os.mkfifo(root / "search" / "manifest.json")
    snapshot = open_snapshot(str(root), cache=False)
    assert "no file" in snapshot.notes[0]


@pytest.mark.parametrize("name", ["codes.bin", "lists.bin", "lists.npy"])
@pytest.mark.parametrize("how", ["gone", "short", "long", "empty"])
def test_codes_of_photos_that_are_lost_or_of_another_size(photo_root, name, how):
    path = shard(photo_root) / name
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes({"short": data[:-9], "long": data + b"x", "empty": b""}[how])
    assert_said_and_right(photo_root, name)
    if how != "gone":
        note_sizes(photo_root)
        assert not assert_said_and_right(photo_root, name).approximate


def test_numbers_of_photos_that_lead_nowhere_or_to_others_are_dropped(photo_root):
    path = shard(photo_root) / "codes.bin"
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    record = len(data) // 60  # 32 codes and three numbers
    numbers = np.resize(np.array([2**40, -5, 59, -(2**63)], np.int64), 3 * 60).reshape(60, 3)
    for photo in range(60):
        place = photo * record + 32 * 2
        data[place : place + 24] = numbers[photo].view(np.uint8)
    path.write_bytes(data.tobytes())
    snapshot = open_snapshot(str(photo_root), cache=False)
    assert snapshot.approximate
    assert {*answers(snapshot, QUERY, 12)[0]} <= {*brute_force(photo_root, QUERY[0], 60)}
    allowed = np.arange(60) % 2 == 0  # 59 is not
    assert all(number % 2 == 0 for number in snapshot.search(QUERY, 12, allowed=allowed)[0].photos)


@pytest.mark.parametrize("how", ["gone", "shape", "nan"])
def test_codebooks_of_photos_that_are_not_what_they_should_be(photo_root, how):
    (path,) = (photo_root / "search" / "all").glob("quantiser-*")
    tensors = load(path.read_bytes())
    inner = {"shape": tensors["inner_code"][:2].copy(), "nan": tensors["inner_code"] * np.float32(np.nan)}
    changed = {name: tensor for name, tensor in tensors.items() if name != "inner_code"}
    data = save(changed if how == "gone" else {**changed, "inner_code": inner[how]})
    path.write_bytes(data)
    edit(photo_root, lambda manifest: manifest["indexes"]["all"].update(quantiser_digest=quantiser_digest(data)))
    assert not assert_said_and_right(photo_root, "qpert build-index").approximate

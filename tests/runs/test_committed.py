"""Which rows of a source are done."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.features.removing import removed_rows
from pipeline.features.store import FeatureStore
from pipeline.runs import committed
from pipeline.runs.committed import live_digests, not_done
from tests.features.stored import MARK, Source, make_set

ODD = ["", "a\nb.jpg", "é.jpg", "x" * 300, "0", "0.jpg\0", "😀"]


def block(names: list[str]) -> pa.Table:
    return pa.table({"image_id": pa.array(names, pa.string()), "n": list(range(len(names)))})


def test_only_rows_in_use_are_done(tmp_path: Path) -> None:
    source, out = Source(tmp_path / "photos"), str(tmp_path / "out")
    for number in range(9):
        source.put(f"{number}.jpg", b"%d" % number)
    make_set(out, source)
    store = FeatureStore(out)
    store.remove_rows(MARK, removed_rows([("run_0-0.parquet", "1.jpg")], "changed"))
    done = live_digests(store.files(MARK))
    assert len(done) == 8
    assert done.nbytes == 16 * 8
    left = not_done(block([*source.names(), "new.jpg", *ODD]), done)
    assert left["image_id"].to_pylist() == ["1.jpg", "new.jpg", *ODD]
    assert left["n"].to_pylist() == [1, *range(9, 10 + len(ODD))]
    assert not_done(block([]), done).num_rows == 0
    assert not_done(block(["a"]), done[:0]).num_rows == 1


def test_digests_that_end_in_zeros_are_distinct() -> None:
    names = [str(number) for number in range(100_000)]
    ending = next(name for name in names if hashlib.blake2b(name.encode(), digest_size=16).digest()[-1:] == b"\0")
    kept = not_done(block([ending, "other"]), np.sort(committed._digests(["some", ending])))
    assert kept["image_id"].to_pylist() == ["other"]

"""Damage that no size shows is found by reading the index."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.verify import Config, run
from pipeline.io.locations import Folder
from pipeline.vectors.checking import check_index
from tests.vectors.indexing import build_index
from tests.vectors.stored_sets import grid, write_set


@pytest.mark.parametrize("name", ["vectors.npy", "lists.bin", "photos.arrow", "quantiser-*"])
def test_a_bit_that_has_changed_is_found(tmp_path, name, capsys):
    rng = np.random.default_rng(0)
    write_set(tmp_path / "set", [grid(rng, 2, 8) for _ in range(40)], 2)
    assert check_index(Folder.open(str(tmp_path / "set"))) == []
    build_index(tmp_path / "set", "ivf-sq8", lists=4)
    assert check_index(Folder.open(str(tmp_path / "set"))) == []
    (path,) = (tmp_path / "set" / "search").rglob(name)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    (problem,) = check_index(Folder.open(str(tmp_path / "set")))
    assert path.name in problem
    assert run(Config(features=str(tmp_path / "set"))) == 0  # the features are intact
    assert path.name in capsys.readouterr().out
    path.unlink()
    assert "cannot be read" in check_index(Folder.open(str(tmp_path / "set")))[0]

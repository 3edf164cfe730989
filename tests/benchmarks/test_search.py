"""The measurement of searching as a whole, at a tiny size."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipeline.benchmarks.search import measure_search
from pipeline.benchmarks.search_options import SearchOptions
from pipeline.errors import QpertError

TINY = {"photos": [200], "vectors": 2, "dim": 16, "texts": 10, "seconds": 0.05, "others": 0, "kind": "none"}


@pytest.mark.slow
def test_a_simulated_set_is_measured_and_kept(tmp_path):
    options = SearchOptions(**TINY | {"keep": str(tmp_path)})
    (figures,) = measure_search(options, tmp_path / "unused")
    (engine,) = figures.engines
    assert (figures.photos, figures.texts) == (200, 10)
    assert figures.raw_bytes >= 200 * 2 * 16 * 2
    assert figures.scan is not None
    assert engine.measure.recall == 1
    assert "exact scan of 200 photos" in str(figures)
    json.dumps(dataclasses.asdict(figures), allow_nan=False)
    assert (tmp_path / "200x2x16-seed0" / "manifest.json").is_file()


def test_options_that_cannot_be_measured_are_refused_before_any_work(tmp_path):
    with pytest.raises(QpertError, match=r"--search\.captions"):
        next(measure_search(SearchOptions(set=str(tmp_path)), tmp_path))
    with pytest.raises(QpertError, match="no such folder"):
        next(measure_search(SearchOptions(**TINY | {"keep": str(tmp_path / "none")}), tmp_path))
    with pytest.raises(QpertError, match="should stay free"):
        next(measure_search(SearchOptions(photos=[10**12]), tmp_path))
    assert not list(tmp_path.iterdir())

"""The match stage as Ray Data calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.method.settings import Perturbation
from pipeline.runs.match_run import read_beside
from pipeline.stages.match import MATCH_SCHEMA, MatchStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker
from tests.matching import TEXTS, matching_encoder, pairs


@pytest.fixture
def matcher(tiny_encoder: Callable[..., Any]) -> Callable[..., Any]:
    return matching_encoder(tiny_encoder)


def test_a_score_for_each_text_and_a_reason_for_a_bad_photo(
    tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any
) -> None:
    ids = make_photos(tmp_path, 5)
    (tmp_path / ids[1]).write_bytes(b"no photo")
    (tmp_path / ids[2]).unlink()
    table = read_beside(pairs(tmp_path, ids), Reporter())
    results = {}
    for name, setting in (("plain", None), ("itc", Perturbation()), ("itm", Perturbation(stages=("itm",)))):
        found = MatchStage(matcher, TEXTS, setting, Worker(micro_batch=2), Reporter())(table)
        assert found.schema == MATCH_SCHEMA
        results[name] = found.to_pylist()
    rows = results["plain"]
    assert [row["image_id"] for row in rows] == ids
    assert [row["error"] is None for row in rows] == [True, False, False, True, True]
    assert [row["scores"] and len(row["scores"]) for row in rows] == [1, None, None, 1, 2]
    assert np.diff(rows[4]["scores"]) == pytest.approx(19)
    assert results["itc"] == rows
    assert results["itm"][4]["scores"] == pytest.approx([each + 0.25 for each in rows[4]["scores"]])

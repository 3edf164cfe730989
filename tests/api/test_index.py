"""`pipeline.index`: its arguments become the options of a run, and its warnings are Python's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline.errors import QpertError
from pipeline.runs.outcome import Outcome, Report
from pipeline.runs.run_stats import RunStats
from pipeline.runs.spec import IndexSpec


def test_a_run_is_made_of_the_arguments(tmp_path: Path, write_features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features, runs = write_features(np.eye(2)[:, None]), []

    class Run:
        def __init__(self, spec: IndexSpec, **flags: bool) -> None:
            runs.append((spec, flags))

        def run(self) -> Outcome:
            report = Report(warnings=["no objects"], failures="1 photo failed")
            return Outcome(RunStats(), {}, report=report)

    monkeypatch.setattr("pipeline.api.index.IndexRun", Run)
    with pytest.warns(UserWarning, match="no objects|failed") as caught:
        opened = pipeline.index(tmp_path, features.root, perturbation=None, prune=True, limit=3)
    assert [str(warning.message) for warning in caught] == ["no objects", "1 photo failed"]
    assert opened.ids == features.ids
    ((spec, flags),) = runs
    assert (spec.source, spec.limit, spec.perturbation.build()) == (str(tmp_path), 3, None)
    assert flags == {"retry_failed": False, "keep_removed": False, "prune": True, "part": None}


def test_wrong_options_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="there is no option detectr; did you mean detector"):
        pipeline.index(tmp_path, tmp_path / "out", detectr="none")

"""Stages in one actor, imported there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pyarrow as pa

from pipeline.stages.stage_actor import Step, stage_actor
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

WORKER, REPORTER = Worker(micro_batch=3), Reporter()


class Adds:
    """A stage that adds to every number, and keeps what it was given."""

    def __init__(self, amount: int, worker: Worker, reporter: Reporter, *, twice: bool = False) -> None:
        self.amount, self.given = amount * (2 if twice else 1), (worker, reporter)

    def __call__(self, table: pa.Table) -> pa.Table:
        return pa.table({"n": [number * 10 + self.amount for number in table["n"].to_pylist()]})


def step(*arguments: Any, **options: Any) -> Step:
    return Step(f"{__name__}:Adds", arguments, options)


def test_stages_run_in_order_with_their_arguments() -> None:
    steps = [step(1), step(2, twice=True)]
    actor = stage_actor(steps)(steps, WORKER, REPORTER)
    assert actor(pa.table({"n": [0, 5]})).to_pydict() == {"n": [14, 514]}
    assert all(stage.given == (WORKER, REPORTER) for stage in actor.stages)


def test_an_actor_has_the_names_of_its_stages() -> None:
    steps = [Step("pipeline.stages.detect:DetectStage"), Step("pipeline.stages.encode:EncodeStage")]
    assert stage_actor(steps).__name__ == "DetectStage_EncodeStage"
    assert pickle.loads(pickle.dumps(steps)) == steps


def test_the_driver_needs_no_model_library_to_name_the_stages() -> None:
    names = "'torch', 'torchvision', 'open_clip', 'transformers', 'ultralytics'"
    program = (
        "import sys, pipeline.runs.index_graph, pipeline.runs.match_run\n"
        f"print([name for name in ({names}) if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"

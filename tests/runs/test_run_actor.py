"""What the actor of a run keeps, without Ray."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.runs.run_actor import RunActor
from pipeline.workers.reporting import BatchDone, DeviceProbe, SmallerMicroBatch, WorkDone


def test_after_a_requested_stop_no_work_may_begin() -> None:
    run_actor = RunActor()
    assert run_actor.enter("encode/1") == 0
    run_actor.request_stop("now there are 2 x A100")
    run_actor.receive(WorkDone("encode/1"))  # work in progress ends
    with pytest.raises(RuntimeError, match="now there are 2 x A100"):
        run_actor.enter("encode/2")


def test_work_that_begins_again_before_it_was_done_has_killed_a_process() -> None:
    run_actor = RunActor()
    assert [run_actor.enter("encode/1") for _ in range(3)] == [0, 1, 2]
    run_actor.receive(WorkDone("encode/1"))
    assert run_actor.enter("encode/1") == 0


def test_the_smallest_micro_batch_of_a_device_is_known() -> None:
    run_actor = RunActor()
    assert run_actor.known_micro_batch("encode", "cuda:A100") is None
    for size in (8, 4, 16):
        run_actor.receive(SmallerMicroBatch("encode", "cuda:A100", size))
    assert run_actor.known_micro_batch("encode", "cuda:A100") == 4
    assert run_actor.known_micro_batch("detect", "cuda:A100") is None


def test_events_reach_the_statistics() -> None:
    run_actor = RunActor(actors=1)
    run_actor.receive(BatchDone("encode", "cpu", 2, 1.0, last=True))
    vectors = np.array([[[1.0, 0.0]]], np.float32)
    run_actor.receive(DeviceProbe("cpu", "float32", vectors))
    run_actor.receive(DeviceProbe("cuda:A100", "bfloat16", vectors[..., ::-1]))
    stats = run_actor.read()
    assert (stats.photos, stats.actors) == (2, 1)
    assert stats.differences == {("cpu", "float32"): 0.0, ("cuda:A100", "bfloat16"): 1.0}

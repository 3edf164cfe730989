"""The actor to which all other actors of a run report, and from which the driver reads how the run goes."""

from __future__ import annotations

from typing import Any

import ray

from pipeline.cluster.ray_compat import this_node
from pipeline.runs.run_stats import RunStats
from pipeline.workers.device_check import DeviceCheck
from pipeline.workers.poison import PoisonRecord
from pipeline.workers.reporting import DeviceProbe, Event, SmallerMicroBatch, WorkDone


class RunActor:
    """Keeps the statistics of a run and what its actors must remember when one of them is replaced.

    All methods are cheap: one actor answers hundreds of others.

    Args:
        actors: how many actors the run will have; None if unknown, see `RunStats`.
    """

    def __init__(self, actors: int | None = None) -> None:
        self.stats = RunStats(actors=actors)
        self.poison, self.device_check = PoisonRecord(), DeviceCheck()
        self.micro_batches: dict[tuple[str, str], int] = {}
        self.stop_reason = ""

    def receive(self, event: Event) -> None:
        """Handles what a `Reporter` sends."""
        match event:
            case WorkDone(work):
                self.poison.leave(work)
            case SmallerMicroBatch(stage, device, size):
                self.micro_batches[stage, device] = min(size, self.micro_batches.get((stage, device), size))
            case DeviceProbe(device, dtype, vectors):
                self.device_check.add((device, dtype), vectors)
                self.stats.differences = self.device_check.differences()
                self.stats.record(event)
            case _:
                self.stats.record(event)

    def enter(self, work: str) -> int:
        """See `PoisonRecord.enter`.

        Raises:
            RuntimeError: a stop was requested, so no further work may begin.
        """
        if self.stop_reason:
            raise RuntimeError(self.stop_reason)
        return self.poison.enter(work)

    def known_micro_batch(self, stage: str, device: str) -> int | None:
        """See `Reporter.known_micro_batch`."""
        return self.micro_batches.get((stage, device))

    def request_stop(self, reason: str) -> None:
        """Stops the run: work in progress ends, and work that begins from now on fails with `reason`."""
        self.stop_reason = reason

    def read(self) -> RunStats:
        """The statistics so far."""
        return self.stats


def start_run_actor(actors: int | None = None) -> Any:
    """Starts a `RunActor` on the driver's node, without reserving a CPU; it ends with the driver."""
    return ray.remote(RunActor).options(num_cpus=0, label_selector=this_node()).remote(actors)

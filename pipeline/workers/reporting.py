"""How actors report to the run: events that are sent without waiting, and two questions whose answers they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.datasets.photos.skipped import Skipped
from pipeline.io.storage_waits import StorageEvent


@dataclass(frozen=True)
class Loading:
    """An actor has started and loads its model. One that died while loading reports this again."""


@dataclass(frozen=True)
class DeviceUp:
    """An actor of `stage` is ready, on the device called `device`."""

    stage: str
    device: str


@dataclass(frozen=True)
class DeviceProbe:
    """The unit vectors float32 [P, V, D] that an encoder on such a device makes of P photos of our own."""

    device: str
    dtype: str
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class SmallerMicroBatch:
    """A model of `stage` takes no more than `size` photos at once on such a device."""

    stage: str
    device: str
    size: int


@dataclass(frozen=True)
class Fetched:
    """Photos have been read: how many, in how many seconds, and their bytes."""

    photos: int
    seconds: float
    size: int


@dataclass(frozen=True)
class FilesSkipped:
    """What a tar holds besides photos."""

    skipped: Skipped


@dataclass(frozen=True)
class BatchDone:
    """Photos have left `stage`, after `seconds` of work on `device`.

    Only the last stage reports their objects and failures (reason -> photos), and those that failed before it.
    `decompositions` were checked on the device, and `repeated` of them were wrong, see `pipeline.method.eigen`.
    """

    stage: str
    device: str
    photos: int
    seconds: float
    objects: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    last: bool = False
    decompositions: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class WorkDone:
    """The work that `Reporter.enter` announced is done."""

    work: str


Event = (
    Loading | DeviceUp | DeviceProbe | SmallerMicroBatch | Fetched | FilesSkipped | BatchDone | WorkDone | StorageEvent
)


class Reporter:
    """Client side of `pipeline.runs.run_actor.RunActor`, used inside the other actors.

    Args:
        run_actor: handle of the actor; None where nobody listens, as in a Ray Data pipeline of one's own.
    """

    def __init__(self, run_actor: Any | None = None) -> None:
        self.run_actor = run_actor

    def send(self, event: Event) -> None:
        """Sends `event` without waiting."""
        if self.run_actor is not None:
            self.run_actor.receive.remote(event)

    def enter(self, work: str) -> int:
        """Announces `work` and returns how many processes have died of it, see `PoisonRecord.enter`.

        This waits: the record must be complete before the work can kill this process.
        """
        return 0 if self.run_actor is None else int(_answer(self.run_actor.enter.remote(work)))

    def known_micro_batch(self, stage: str, device: str) -> int | None:
        """The size that earlier actors of `stage` found to fit on such a device; None if they had no trouble."""
        if self.run_actor is None:
            return None
        size: int | None = _answer(self.run_actor.known_micro_batch.remote(stage, device))
        return size


def _answer(reference: Any) -> Any:
    """Waits for what the run actor returns. Only processes of Ray's ask it; those that plan or dry-run lack Ray."""
    import ray

    return ray.get(reference)

"""Counts from all actors while a job runs: photos done, failures by reason, seconds by stage, devices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from pipeline.datasets.photos.skipped import Skipped
from pipeline.workers.device_check import Probes
from pipeline.workers.poison import Casualties


@dataclass
class Counts:
    """What has happened so far.

    Attributes:
        photos: photos that left the last stage, failed ones included.
        objects: objects in them.
        failures: reason -> photos; the reason is cut at its first colon.
        seconds: stage -> seconds of work, summed over its actors.
        loading: actors that have begun to load their model and are not up yet.
        devices: stage -> device -> actors that are up.
        embedding: (V, D), once an encoder is up.
        started: time.time() when the first batch of any stage was begun; starting Ray and loading models come before.
        history: (time.time(), photos so far) at the end of each batch, thinned when long.
        done: stage -> photos that left it.
        work: (stage, device) -> photos that left it there, and seconds of work on them.
        fetched: photos read, seconds spent on that, and their bytes.
        skipped: what tars hold besides photos.
        differences: (device, dtype) of encoders -> how far the embeddings of the probe photos are from those of the
            most exact device, as 1 - cosine, at most.
        warm: time.time() and `done` when every actor was up and a batch had left the last stage; None before that.
    """

    photos: int = 0
    objects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    loading: int = 0
    devices: dict[str, Counter[str]] = field(default_factory=dict)
    embedding: tuple[int, int] | None = None
    started: float | None = None
    history: list[tuple[float, int]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    work: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    fetched: tuple[int, float, int] = (0, 0.0, 0)
    skipped: Skipped = field(default_factory=Skipped)
    differences: dict[tuple[str, str], float] = field(default_factory=dict)
    warm: tuple[float, Counter[str]] | None = None

    def rate(self) -> float | None:
        """Photos per second from the beginning of the first batch to the end of the last so far."""
        if self.started is None or not self.history or self.history[-1][0] <= self.started:
            return None
        return self.photos / (self.history[-1][0] - self.started)

    def warm_rate(self) -> float | None:
        """Photos per second from `warm` to the end of the last batch so far; None when there was next to nothing left.

        Photos that were half-way then count by the work that was still to do on them, as measured by `seconds`:
        those that wait, detected already, before the encoder are no free gift.
        """
        if self.warm is None or not sum(self.seconds.values()):
            return None
        since, before = self.warm
        left = sum(
            seconds * (self.done[stage] - before[stage]) / self.done[stage] for stage, seconds in self.seconds.items()
        )
        share = left / sum(self.seconds.values())
        elapsed = self.history[-1][0] - since
        return share * self.photos / elapsed if share > 0.25 and elapsed > 0 else None

    def recent_rate(self, window: float) -> float | None:
        """Photos per second over the last `window` seconds, or over all when they hold less than two batches."""
        events = self.history
        recent = [event for event in events if event[0] >= events[-1][0] - window]
        events = recent if len(recent) > 1 else events
        if len(events) < 2 or events[-1][0] <= events[0][0]:
            return None
        return (events[-1][1] - events[0][1]) / (events[-1][0] - events[0][0])


class Tally:
    """The actor that keeps the counts and what the other actors must remember; all its methods are cheap.

    Args:
        actors: how many there will be, to know when all are up; None leaves `Counts.warm` out.
    """

    def __init__(self, actors: int | None = None) -> None:
        self.counts, self.actors = Counts(), actors
        self.casualties, self.probes = Casualties(), Probes()
        self.sizes: dict[tuple[str, str], int] = {}
        self.begun, self.stopped = 0, ""

    def stop(self, reason: str) -> None:
        """End the attempt: work that is begun from now on fails."""
        self.stopped = reason

    def read(self) -> Counts:
        """The counts so far."""
        return self.counts

    def loading(self) -> None:
        """An actor has begun: it loads its model next. One that died at that begins once more."""
        self.begun += 1
        self._note_loading()

    def device(self, stage: str, name: str) -> None:
        """An actor of `stage` is up on the device `name`."""
        self.counts.devices.setdefault(stage, Counter())[name] += 1
        self._note_loading()

    def _note_loading(self) -> None:
        begun = self.begun if self.actors is None else min(self.begun, self.actors)
        self.counts.loading = max(0, begun - self._up())

    def _up(self) -> int:
        return sum(sum(names.values()) for names in self.counts.devices.values())

    def embedding(self, vectors: int, dim: int) -> None:
        """Shape of the embeddings."""
        self.counts.embedding = (vectors, dim)

    def enter(self, work: str) -> int:
        """See `Casualties.enter`.

        Raises:
            RuntimeError: nothing more shall be begun.
        """
        if self.stopped:
            raise RuntimeError(self.stopped)
        return self.casualties.enter(work)

    def leave(self, work: str) -> None:
        """See `Casualties.leave`."""
        self.casualties.leave(work)

    def probe(self, device: str, dtype: str, vectors: npt.NDArray[np.float32]) -> None:
        """An encoder on such a device makes these of the probe photos."""
        self.probes.add((device, dtype), vectors)
        self.counts.differences = self.probes.differences()

    def micro_batch(self, stage: str, device: str) -> int | None:
        """What is known to fit on such a device, where it has turned out that less does than was thought."""
        return self.sizes.get((stage, device))

    def smaller(self, stage: str, device: str, size: int) -> None:
        """No more than so many photos fit on such a device at once."""
        self.sizes[stage, device] = min(size, self.sizes.get((stage, device), size))

    def fetched(self, photos: int, seconds: float, size: int) -> None:
        """Photos have been read."""
        before = self.counts.fetched
        self.counts.fetched = before[0] + photos, before[1] + seconds, before[2] + size

    def left_out(self, skipped: Skipped) -> None:
        """A tar holds this besides photos."""
        self.counts.skipped.update(skipped)

    def batch(
        self,
        stage: str,
        device: str,
        photos: int,
        seconds: float,
        objects: int,
        failures: Mapping[str, int],
        final: bool,
    ) -> None:
        """A batch has left `stage`."""
        counts, now = self.counts, time.time()
        counts.started = min(counts.started or now, now - seconds)
        counts.seconds[stage] = counts.seconds.get(stage, 0.0) + seconds
        before = counts.work.get((stage, device), (0, 0.0))
        counts.work[stage, device] = before[0] + photos, before[1] + seconds
        counts.done[stage] += photos
        if final:
            counts.photos += photos
            counts.objects += objects
            for reason, number in failures.items():
                counts.failures[reason.partition(":")[0]] += number
            counts.history.append((now, counts.photos))
            if len(counts.history) > 4096:
                counts.history = counts.history[:1] + counts.history[1::2]
        if counts.warm is None and counts.photos and self.actors is not None and self._up() >= self.actors:
            counts.warm = now, counts.done.copy()


class Reporter:
    """The actors' end of the line. Reports are sent and not waited for; without a tally they are dropped."""

    def __init__(self, tally: Any | None = None) -> None:
        self.tally = tally

    def loading(self) -> None:
        """See `Tally.loading`."""
        if self.tally is not None:
            self.tally.loading.remote()

    def device(self, stage: str, name: str) -> None:
        """See `Tally.device`."""
        if self.tally is not None:
            self.tally.device.remote(stage, name)

    def embedding(self, vectors: int, dim: int) -> None:
        """See `Tally.embedding`."""
        if self.tally is not None:
            self.tally.embedding.remote(vectors, dim)

    def enter(self, work: str) -> int:
        """See `Casualties.enter`. This one is waited for: it must be known before the work can kill anybody."""
        return 0 if self.tally is None else int(ray.get(self.tally.enter.remote(work)))

    def leave(self, work: str) -> None:
        """See `Casualties.leave`."""
        if self.tally is not None:
            self.tally.leave.remote(work)

    def probe(self, device: str, dtype: str, vectors: npt.NDArray[np.float32]) -> None:
        """See `Tally.probe`."""
        if self.tally is not None:
            self.tally.probe.remote(device, dtype, vectors)

    def micro_batch(self, stage: str, device: str) -> int | None:
        """See `Tally.micro_batch`."""
        return None if self.tally is None else ray.get(self.tally.micro_batch.remote(stage, device))

    def smaller(self, stage: str, device: str, size: int) -> None:
        """See `Tally.smaller`."""
        if self.tally is not None:
            self.tally.smaller.remote(stage, device, size)

    def fetched(self, photos: int, seconds: float, size: int) -> None:
        """See `Tally.fetched`."""
        if self.tally is not None:
            self.tally.fetched.remote(photos, seconds, size)

    def left_out(self, skipped: Skipped) -> None:
        """See `Tally.left_out`."""
        if self.tally is not None and skipped:
            self.tally.left_out.remote(skipped)

    def batch(
        self,
        stage: str,
        device: str,
        *,
        photos: int,
        seconds: float,
        objects: int = 0,
        failures: Mapping[str, int] | None = None,
    ) -> None:
        """See `Tally.batch`; `encode` and `match` are the last stages of their graphs."""
        if self.tally is not None:
            final = stage in ("encode", "match")
            self.tally.batch.remote(stage, device, photos, seconds, objects, dict(failures or {}), final)


def start_tally(actors: int | None = None) -> Any:
    """A `Tally(actors)` on the driver's node, with no CPU reserved; it goes when the driver goes."""
    node = ray.get_runtime_context().get_node_id()
    return ray.remote(Tally).options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote(actors)

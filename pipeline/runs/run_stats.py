"""Statistics of a run: photos done, failures by reason, seconds by stage, devices. Pure Python, without Ray."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace

from pipeline.datasets.photos.skipped import Skipped
from pipeline.io.retrying import LONGEST_PAUSE
from pipeline.io.storage_waits import SAID_AFTER, StorageAnswers, StorageWaits
from pipeline.workers.device_check import Kind
from pipeline.workers.reporting import BatchDone, DeviceProbe, DeviceUp, Event, Fetched, FilesSkipped, Loading

_HISTORY = 4096
"""Most entries of `RunStats.history`."""


@dataclass
class StorageTrouble:
    """Storage that had to be asked again, by all processes of a run.

    Attributes:
        retries: how often.
        longest: seconds of the longest wait.
        waiting: of the waits heard of since one has ended, the one that began first, as long as it was at `heard`.
        heard: time.time() of the last event.
    """

    retries: int = 0
    longest: float = 0.0
    waiting: StorageWaits | None = None
    heard: float = 0.0

    def record(self, event: StorageWaits | StorageAnswers) -> None:
        """Adds an event. After an end, others that still wait will say so with their next try."""
        self.longest = max(self.longest, event.seconds)
        before, self.waiting, self.heard = self._lasting(), None, time.time()
        if isinstance(event, StorageWaits):
            self.retries += 1
            self.waiting = event if before is None or before.seconds < event.seconds else before

    def now(self) -> StorageWaits | None:
        """The wait that is worth a line now: it has taken a while, and its process still lives."""
        lasting = self._lasting()
        return None if lasting is None or lasting.seconds < SAID_AFTER else lasting

    def _lasting(self) -> StorageWaits | None:
        silent = time.time() - self.heard
        if self.waiting is None or silent > 2 * LONGEST_PAUSE:
            return None
        return replace(self.waiting, seconds=self.waiting.seconds + silent)


@dataclass
class RunStats:
    """What has happened so far in a run, or in its current attempt.

    Attributes:
        photos: photos that left the last stage, failed ones included.
        objects: objects in them.
        failures: reason -> photos; the reason is cut at its first colon.
        seconds: stage -> seconds of work, summed over its actors.
        loading: actors that load their model and are not up yet.
        devices: stage -> device -> actors that are up.
        embedding: (V, D), once an encoder is up.
        started: time.time() when the first batch of any stage began; starting Ray and loading models come before.
        history: (time.time(), photos so far) at the end of each batch, thinned when long.
        done: stage -> photos that left it.
        work: (stage, device) -> photos that left it there, and seconds of work on them.
        fetched: photos read, seconds spent on reading, and their bytes.
        skipped: what tars hold besides photos.
        differences: largest 1 - cosine of each kind of device to the most exact one, see `DeviceCheck`.
        warm: time.time() and `done` when every actor was up and a batch had left the last stage; None before that.
        decompositions: device -> eigendecompositions that were checked there, and those of them that were wrong.
        actors: how many actors there will be, to know when all are up; None leaves `warm` out.
        begun: actors that have begun to load their model, repetitions included.
        storage: waits for storage.
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
    differences: dict[Kind, float] = field(default_factory=dict)
    warm: tuple[float, Counter[str]] | None = None
    decompositions: dict[str, tuple[int, int]] = field(default_factory=dict)
    actors: int | None = None
    begun: int = 0
    storage: StorageTrouble = field(default_factory=StorageTrouble)

    def record(self, event: Event) -> None:
        """Adds what `event` reports; events that are not about statistics are ignored."""
        match event:
            case Loading():
                self.begun += 1
                self._count_loading()
            case DeviceUp(stage, device):
                self.devices.setdefault(stage, Counter())[device] += 1
                self._count_loading()
            case DeviceProbe(_, _, embeddings):
                _, vectors, dim = embeddings.shape
                self.embedding = vectors, dim
            case Fetched(photos, seconds, size):
                before = self.fetched
                self.fetched = before[0] + photos, before[1] + seconds, before[2] + size
            case FilesSkipped(skipped):
                self.skipped.update(skipped)
            case BatchDone():
                self._record_batch(event)
            case StorageWaits() | StorageAnswers():
                self.storage.record(event)

    def images_per_second(self) -> float | None:
        """What every command calls images/s: photos per second of wall-clock time once all actors are at work.

        Failed photos count. Starting Ray, loading models and the first batches are left out (`warm_rate`); where a run
        was too short for that, it is counted from its first batch to its last (`rate`).
        """
        return self.warm_rate() or self.rate()

    def rate(self) -> float | None:
        """Photos per second from the beginning of the first batch to the end of the last so far."""
        if self.started is None or not self.history or self.history[-1][0] <= self.started:
            return None
        return self.photos / (self.history[-1][0] - self.started)

    def warm_rate(self) -> float | None:
        """Photos per second from `warm` to the end of the last batch so far; None if too little was left to measure.

        Photos that were half-way then count by the work that remained, as measured by `seconds`: photos that were
        detected before and wait for the encoder would otherwise make the run look faster than it is.
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
        """Photos per second over the last `window` seconds, or over the whole run if these hold less than 2 batches."""
        events = self.history
        recent = [event for event in events if event[0] >= events[-1][0] - window]
        events = recent if len(recent) > 1 else events
        if len(events) < 2 or events[-1][0] <= events[0][0]:
            return None
        return (events[-1][1] - events[0][1]) / (events[-1][0] - events[0][0])

    def _count_loading(self) -> None:
        begun = self.begun if self.actors is None else min(self.begun, self.actors)
        self.loading = max(0, begun - self._up())

    def _up(self) -> int:
        return sum(sum(devices.values()) for devices in self.devices.values())

    def _record_batch(self, batch: BatchDone) -> None:
        now, stage = time.time(), batch.stage
        self.started = min(self.started or now, now - batch.seconds)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + batch.seconds
        before = self.work.get((stage, batch.device), (0, 0.0))
        self.work[stage, batch.device] = before[0] + batch.photos, before[1] + batch.seconds
        self.done[stage] += batch.photos
        if batch.decompositions:
            checked, wrong = self.decompositions.get(batch.device, (0, 0))
            self.decompositions[batch.device] = checked + batch.decompositions, wrong + batch.repeated
        if batch.last:
            self.photos += batch.photos
            self.objects += batch.objects
            for reason, count in batch.failures.items():
                self.failures[reason.partition(":")[0]] += count
            self.history.append((now, self.photos))
            if len(self.history) > _HISTORY:
                self.history = self.history[:1] + self.history[1::2]
        if self.warm is None and self.photos and self.actors is not None and self._up() >= self.actors:
            self.warm = now, self.done.copy()

"""Counts from all actors while a job runs: photos done, failures by reason, seconds by stage, devices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray


@dataclass
class Counts:
    """What has happened so far.

    Attributes:
        photos: photos that left the last stage, failed ones included.
        objects: objects in them.
        failures: reason -> photos; the reason is cut at its first colon.
        seconds: stage -> seconds of work, summed over its actors.
        devices: stage -> device -> actors.
        embedding: (V, D), once an encoder is up.
        started: time.time() when the first batch of any stage was begun; starting Ray and loading models come before.
        history: (time.time(), photos so far) at the end of each batch, thinned when long.
        done: stage -> photos that left it.
        warm: time.time() and `done` when every actor was up and a batch had left the last stage; None before that.
    """

    photos: int = 0
    objects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    devices: dict[str, Counter[str]] = field(default_factory=dict)
    embedding: tuple[int, int] | None = None
    started: float | None = None
    history: list[tuple[float, int]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
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
    """The actor that keeps the counts; all its methods are cheap.

    Args:
        actors: how many there will be, to know when all are up; None leaves `Counts.warm` out.
    """

    def __init__(self, actors: int | None = None) -> None:
        self.counts, self.actors = Counts(), actors

    def read(self) -> Counts:
        """The counts so far."""
        return self.counts

    def device(self, stage: str, name: str) -> None:
        """An actor of `stage` is up on the device `name`."""
        self.counts.devices.setdefault(stage, Counter())[name] += 1

    def embedding(self, vectors: int, dim: int) -> None:
        """Shape of the embeddings."""
        self.counts.embedding = (vectors, dim)

    def batch(
        self, stage: str, photos: int, seconds: float, objects: int, failures: Mapping[str, int], final: bool
    ) -> None:
        """A batch has left `stage`."""
        counts, now = self.counts, time.time()
        counts.started = min(counts.started or now, now - seconds)
        counts.seconds[stage] = counts.seconds.get(stage, 0.0) + seconds
        counts.done[stage] += photos
        if final:
            counts.photos += photos
            counts.objects += objects
            for reason, number in failures.items():
                counts.failures[reason.partition(":")[0]] += number
            counts.history.append((now, counts.photos))
            if len(counts.history) > 4096:
                counts.history = counts.history[:1] + counts.history[1::2]
        if counts.warm is None and counts.photos and self.actors is not None:
            up = sum(sum(names.values()) for names in counts.devices.values())
            if up >= self.actors:
                counts.warm = now, counts.done.copy()


class Reporter:
    """The actors' end of the line. Reports are sent and not waited for; without a tally they are dropped."""

    def __init__(self, tally: Any | None = None) -> None:
        self.tally = tally

    def device(self, stage: str, name: str) -> None:
        """See `Tally.device`."""
        if self.tally is not None:
            self.tally.device.remote(stage, name)

    def embedding(self, vectors: int, dim: int) -> None:
        """See `Tally.embedding`."""
        if self.tally is not None:
            self.tally.embedding.remote(vectors, dim)

    def batch(
        self,
        stage: str,
        *,
        photos: int,
        seconds: float,
        objects: int = 0,
        failures: Mapping[str, int] | None = None,
    ) -> None:
        """See `Tally.batch`; `encode` and `match` are the last stages of their graphs."""
        if self.tally is not None:
            self.tally.batch.remote(stage, photos, seconds, objects, dict(failures or {}), stage in ("encode", "match"))


def start_tally(actors: int | None = None) -> Any:
    """A `Tally(actors)` on the driver's node, with no CPU reserved; it goes when the driver goes."""
    node = ray.get_runtime_context().get_node_id()
    return ray.remote(Tally).options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote(actors)

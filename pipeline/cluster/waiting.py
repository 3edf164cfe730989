"""Waiting, with messages, for GPUs that have yet to join or are held by other jobs, and for results of tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from pipeline.cluster.machines import Machines
from pipeline.cluster.ray_compat import request_gpus, total_and_free
from pipeline.printing import duration

EVERY = 5.0
"""Seconds between two polls of the cluster."""
LONG = 60.0
"""Seconds of waiting after which a message says what the cluster has free."""


class NamedGpus:
    """The GPU types that a command names. The first attempt needs all of them; later ones use those that are left.

    Args:
        names: GPU types as Ray labels them; None for every GPU, ("none",) for CPUs only.
        minutes: longest time to wait for them.
        begun: an earlier run had them all, so this one uses those that are left.
        wished: they are a preference from an earlier run: if none is left, any other GPU will do.
    """

    def __init__(
        self, names: Sequence[str] | None, minutes: float = 0.0, *, begun: bool = False, wished: bool = False
    ) -> None:
        self.names, self.minutes, self.wished = names, minutes, wished
        self._planned = self._found = begun

    def find(self) -> Machines:
        """Waits for the types that the next attempt uses (see `machines_with`); returns the machines of the cluster."""
        names = self.names
        if self._found:
            names = self._left(Machines.cluster(ask=False))
            if not self.wished and (gone := [kind for kind in self.names or () if kind not in (names or ())]):
                print(f"going on without GPUs of type {', '.join(gone)}: there are none", file=sys.stderr, flush=True)
        self._found = True
        return machines_with(names, self.minutes)

    def on(self, machines: Machines) -> Sequence[str] | None:
        """The types for `plan_pools` on `machines`: those that are left, or all named ones, which is an error there."""
        names = self._left(machines) if self._planned else self.names
        self._planned = True
        return names

    def _left(self, machines: Machines) -> Sequence[str] | None:
        left = [kind for kind in self.names or () if machines.gpus.get(kind)]
        if left or not self.wished or list(self.names or ()) == ["none"]:
            return left or self.names
        return None


def machines_with(accelerators: Sequence[str] | None = None, minutes: float = 0.0, every: float = EVERY) -> Machines:
    """Waits for a GPU of every named type, then for a free one, and returns the machines of the cluster.

    The first wait ends after `minutes`, with whatever is there; meanwhile the cluster's autoscaler, if it has one, is
    asked for a GPU of each missing type. The second wait has no limit: two jobs that each hold some GPUs and wait for
    more would wait forever.

    Args:
        accelerators: GPU types as Ray labels them; None for any, ("none",) to wait for nothing.
        minutes: longest time to wait for missing types.
        every: seconds between two polls.
    """
    named = list(accelerators or ())
    if named != ["none"]:
        _wait_for_types(named, minutes, every)
        _wait_for_others(named, every)
    return Machines.cluster()


def settle(gpus: float = 0.0, every: float = 5.0, most: float = 60.0) -> None:
    """Waits until a session that has just ended has released its resources: Ray ends its actors gradually.

    Returns when `gpus` GPUs are free, or all that are left in the cluster, and two successive polls agree.

    Args:
        gpus: number of GPUs to become free.
        every: seconds between two polls.
        most: longest time to wait, in seconds.
    """
    end, before = time.monotonic() + most, None
    while time.monotonic() < end:
        machines = Machines.cluster(ask=False)
        free = machines.free_gpus, machines.free_cpus
        missing = min(int(gpus), sum(machines.gpus.values())) - sum((machines.free_gpus or {}).values())
        if free == before and missing <= 0:
            return
        before = free
        time.sleep(every)


def _wait_for_types(named: list[str], minutes: float, every: float) -> None:
    def missing() -> list[str]:
        gpus = Machines.cluster(ask=False).gpus
        return [kind for kind in named if not gpus[kind]]

    if minutes <= 0 or not (lacking := missing()):
        return
    print(f"waiting up to {minutes:g} min for {', '.join(lacking)}", file=sys.stderr, flush=True)
    try:
        end = time.monotonic() + 60 * minutes
        while lacking and time.monotonic() < end:
            # Repeated, since the whole cluster has a single request, which another job may have replaced.
            request_gpus(lacking)
            time.sleep(every)
            lacking = missing()
    finally:
        request_gpus([])  # otherwise the cluster would keep them forever


def _wait_for_others(named: list[str], every: float) -> None:
    said = -LONG
    while True:
        machines = Machines.cluster(ask=False)
        kinds = named or list(machines.gpus)
        total = sum(machines.gpus[kind] for kind in kinds)
        if not total or machines.free_gpus is None or any(machines.free_gpus[kind] for kind in kinds):
            return
        if time.monotonic() - said >= LONG:
            said = time.monotonic()
            print(f"waiting for GPUs: other jobs hold all {total}", file=sys.stderr, flush=True)
        time.sleep(every)


def waiting_line(seconds: float, what: str = "no worker is up") -> str:
    """A line that says what the cluster has free, and that `what` has been true for so many seconds."""
    import ray

    try:
        total, free = total_and_free()
    except ray.exceptions.RayError:
        return "starting workers ..."
    kinds = [(name, plural) for name, plural in (("GPU", "GPUs"), ("CPU", "CPUs")) if total.get(name)]
    parts = [f"{free.get(name, 0.0):g} of {total[name]:g} {plural}" for name, plural in kinds]
    if all(free.get(name, 0.0) >= total[name] for name, _ in kinds):
        held = ", ".join(f"{total[name]:g} {plural}" for name, plural in kinds)
        return f"{what} after {duration(seconds)}; all {held} are free: no other job holds any"
    return f"{what} after {duration(seconds)}; free are {', '.join(parts)}: other jobs may hold the rest"


def result_of(reference: Any, what: str) -> Any:
    """Waits for the result of a Ray task; prints a line about the cluster's free resources every `LONG` seconds.

    Raises:
        ray.exceptions.RayError: as `ray.get`.
    """
    import ray

    begun = time.monotonic()
    while not ray.wait([reference], timeout=LONG)[0]:
        print(f"{what}: {waiting_line(time.monotonic() - begun, 'no result')}", file=sys.stderr, flush=True)
    return ray.get(reference)

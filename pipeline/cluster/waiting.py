"""Waiting for what a cluster has not got yet, and saying so: GPUs that come, or that other jobs hold, and results."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from pipeline.cluster.machines import Machines
from pipeline.cluster.ray_compat import request_gpus, total_and_free
from pipeline.printing import duration

EVERY = 5.0
"""Seconds between two looks at the cluster."""
LONG = 60.0
"""Seconds after which somebody who waits is told what the cluster has free."""


class NamedGpus:
    """The GPU types that a command names, by Ray's names: all must be there at first, later those do that are left.

    Args:
        names: None for every GPU, ("none",) for CPUs only.
        minutes: to wait for them at most.
        begun: the command has found them all before: those do that are there.
        wished: nobody has asked for them this time: where there are none of them, any other GPU does.
    """

    def __init__(
        self, names: Sequence[str] | None, minutes: float = 0.0, *, begun: bool = False, wished: bool = False
    ) -> None:
        self.names, self.minutes, self.wished = names, minutes, wished
        self._planned = self._found = begun

    def find(self) -> Machines:
        """The machines of an attempt, after waiting for the types that it takes (see `machines_with`)."""
        names = self.names
        if self._found:
            names = self._left(Machines.cluster(ask=False))
            if not self.wished and (gone := [kind for kind in self.names or () if kind not in (names or ())]):
                print(f"going on without GPUs of type {', '.join(gone)}: there are none", file=sys.stderr, flush=True)
        self._found = True
        return machines_with(names, self.minutes)

    def on(self, machines: Machines) -> Sequence[str] | None:
        """The types that an attempt on `machines` takes: all of them where nothing is left, which is an error there."""
        names = self._left(machines) if self._planned else self.names
        self._planned = True
        return names

    def _left(self, machines: Machines) -> Sequence[str] | None:
        left = [kind for kind in self.names or () if machines.gpus.get(kind)]
        if left or not self.wished or list(self.names or ()) == ["none"]:
            return left or self.names
        return None


def machines_with(accelerators: Sequence[str] | None = None, minutes: float = 0.0, every: float = EVERY) -> Machines:
    """The machines of the cluster, when there is a GPU of every type named, or after so many minutes as they are.

    And, however long that takes, when other jobs do not hold all GPUs: a job that has some actors and waits for others
    while another one does the same would wait for ever.

    The cluster's autoscaler, if it has one, is asked for one of each.

    Args:
        accelerators: types by Ray's names; None and ("none",) for none in particular.
        minutes: to wait at most.
        every: seconds between two looks.
    """
    named = list(accelerators or ())
    if named != ["none"]:
        _wait_for_types(named, minutes, every)
        _wait_for_others(named, every)
    return Machines.cluster()


def settle(gpus: float = 0.0, every: float = 5.0, most: float = 60.0) -> None:
    """Wait until a session that has just ended has let go of what it held: Ray ends its actors by and by.

    Args:
        gpus: that will be free then, where they are still there.
        every: seconds between two looks; nothing has changed between the last two.
        most: seconds to wait at most.
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
            # Again and again: there is one request for the whole cluster, and another job may have taken it back.
            request_gpus(lacking)
            time.sleep(every)
            lacking = missing()
    finally:
        request_gpus([])  # else the cluster would keep them for ever


def _wait_for_others(named: list[str], every: float) -> None:
    said = -LONG
    while True:
        machines = Machines.cluster(ask=False)
        kinds = named or list(machines.gpus)
        there = sum(machines.gpus[kind] for kind in kinds)
        if not there or machines.free_gpus is None or any(machines.free_gpus[kind] for kind in kinds):
            return
        if time.monotonic() - said >= LONG:
            said = time.monotonic()
            print(f"waiting for GPUs: other jobs hold all {there}", file=sys.stderr, flush=True)
        time.sleep(every)


def waiting_line(seconds: float, what: str = "no worker is up") -> str:
    """What the cluster has free, after `what` has been true for so many seconds."""
    import ray

    try:
        there, free = total_and_free()
    except ray.exceptions.RayError:
        return "starting workers ..."
    kinds = [(name, plural) for name, plural in (("GPU", "GPUs"), ("CPU", "CPUs")) if there.get(name)]
    parts = [f"{free.get(name, 0.0):g} of {there[name]:g} {plural}" for name, plural in kinds]
    return f"{what} after {duration(seconds)}; free are {', '.join(parts)}: other jobs may hold the rest"


def result_of(reference: Any, what: str) -> Any:
    """What a Ray task returns; said now and then that it is waited for, and what the cluster has free.

    Raises:
        ray.exceptions.RayError: as `ray.get`.
    """
    import ray

    begun = time.monotonic()
    while not ray.wait([reference], timeout=LONG)[0]:
        print(f"{what}: {waiting_line(time.monotonic() - begun, 'no result')}", file=sys.stderr, flush=True)
    return ray.get(reference)

"""Attempts at running a dataset to its end: what Ray cannot mend is begun anew from what is committed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool
from pipeline.cluster.rescaling import Pace, Rescaling
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import settle
from pipeline.errors import QpertError, one_line
from pipeline.features.store import FeatureStore
from pipeline.io.retrying import full, out_of_space
from pipeline.printing import duration, printable
from pipeline.runs.progress import progress
from pipeline.runs.run_actor import start_run_actor
from pipeline.runs.run_stats import RunStats

_BROKEN = (ray.exceptions.RayError, ExecutionTimeoutError)


class Plan(Protocol):
    """What runs in one attempt: how many actors of each stage there are, and how many photos wait for their file."""

    @property
    def pools(self) -> Mapping[str, Pool]: ...  # noqa: D102

    @property
    def file_rows(self) -> int: ...  # noqa: D102


AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True)
class Done(Generic[AnyPlan]):
    """The attempt that came to its end.

    Attributes:
        counts: of what was done in it.
        machines: that there were.
        plan: as it ran on them.
    """

    counts: RunStats
    machines: Machines
    plan: AnyPlan


class Attempts(Generic[AnyPlan]):
    """At running a plan to its end.

    Ray mends most of what breaks: it starts a dead process or its work anew. What it cannot mend (of the nodes too many
    are gone, or what is left waits for each other) ends an attempt; the next one begins with the machines that there
    are then and goes on from what is committed, in a Ray session of its own, as only that frees all of the last one.
    So it is when machines have joined with which the rest is done sooner.

    Args:
        store: what is written to, with Ray's checkpoint.
        fingerprint: of what is written there.
        todo: photos to do; None when unknown.
        execute: runs a plan in the current Ray session; its actors report to the `RunActor`.
        on_counts: called with what was done so far, now and then and at the end of each attempt.
    """

    def __init__(
        self,
        store: FeatureStore,
        fingerprint: str,
        todo: int | None,
        execute: Callable[[AnyPlan, Any], None],
        on_counts: Callable[[RunStats], None] = lambda counts: None,
    ) -> None:
        self.store, self.fingerprint, self.todo = store, fingerprint, todo
        self.execute, self.on_counts = execute, on_counts
        self.files = self.begun_with = self._committed()
        self.in_vain, self.number = 0, 0
        self.stopped: str | None = None  # why the attempt is ended for a better one
        self.gpus = 0.0  # that are free once the session has ended

    def run(
        self,
        make_plan: Callable[[Machines], AnyPlan],
        find_machines: Callable[[], Machines],
        *,
        address: str | None = None,
        cpus: int | None = None,
        verbose: bool = False,
    ) -> Done[AnyPlan]:
        """As many attempts as it takes.

        Args:
            make_plan: the plan for the machines that there are.
            find_machines: finds these, at the start of each attempt.
            address: see `ray_session`.
            cpus: see `ray_session`.
            verbose: show Ray's own messages.

        Raises:
            QpertError: a model does not work, the cluster lacks what was asked for, or attempt after attempt does
                nothing. What is done stays done.
            KeyboardInterrupt: with what to do next as its text.
        """
        try:
            while True:
                with ray_session(address, cpus=cpus, verbose=verbose) as ours:
                    try:
                        if self.number:
                            settle(self.gpus)
                        machines = find_machines()
                        plan = make_plan(machines)
                        return Done(self._once(plan, machines, make_plan, ours), machines, plan)
                    except _BROKEN as error:
                        self.may_go_on(error, ours)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("run the same command again to go on where it stopped") from None

    def _once(
        self, plan: AnyPlan, machines: Machines, make_plan: Callable[[Machines], AnyPlan], ours: bool
    ) -> RunStats:
        """One attempt. In a session of ours it is ended where a new one would be done sooner, as machines joined."""
        self.number += 1
        self.files = self._committed()
        self.gpus = held = sum(pool.size * (pool.num_gpus or 0.0) for pool in plan.pools.values())
        run_actor, todo = start_run_actor(sum(pool.size for pool in plan.pools.values())), self.left()
        rescaling = Rescaling(
            machines, plan.pools, lambda now: make_plan(now).pools, plan.file_rows, todo if ours else None
        )
        started = time.time()

        def look(counts: RunStats) -> None:
            self.on_counts(counts)
            pace = pace_of(counts, started) if self.stopped is None else None
            if pace is not None and (restart := rescaling.poll(pace)):
                self.gpus = held + sum((restart.machines.free_gpus or {}).values())
                self.stopped = (
                    f"now there are {restart.machines}, not {machines}: restarting from what is done,"
                    f" {duration(restart.saves)} sooner"
                )
                run_actor.request_stop.remote(self.stopped)

        with progress(run_actor, todo, look):
            self.execute(plan, run_actor)
        counts: RunStats = ray.get(run_actor.read.remote())
        self.on_counts(counts)
        return counts

    def may_go_on(self, error: BaseException, ours: bool) -> None:
        """Whether another attempt makes sense; where it does not, raises what the user shall read.

        It does after a failure of the machines, in a session that is ours to end; twice at most without anything done.
        """
        reason, self.stopped = self.stopped, None
        if reason is not None:
            print(reason, file=sys.stderr)
            return
        cause = readable(error, self.store.root)
        failed = cause.cause if isinstance(cause, ray.exceptions.RayTaskError) else None
        if isinstance(failed, OSError):
            cause = QpertError(
                f"storage failed again and again ({one_line(failed)}); run the same command again to go on when it"
                " works"
            )
        if isinstance(cause, QpertError) or not ours or not isinstance(failed, ray.exceptions.RayError | None):
            raise cause from error
        before, self.files = self.files, self._committed()
        self.in_vain = self.in_vain + 1 if self.files == before else 0
        if self.in_vain > 2:
            raise QpertError(
                f"Ray could not go on, three times without anything done: {one_line(cause)}. Is the cluster whole? Run"
                " the same command again to go on; --verbose shows more"
            ) from error
        reason = printable(one_line(cause))
        print(f"warning: Ray could not go on ({reason}); starting anew from what is done", file=sys.stderr)

    def left(self) -> int | None:
        """Photos that the attempt has before it; None when unknown."""
        if self.todo is None:
            return None
        written = sorted(self.files - self.begun_with)
        return self.todo - self.store.files(self.fingerprint).stored_rows(written)

    def _committed(self) -> frozenset[str]:
        return frozenset(self.store.files(self.fingerprint).names)


def pace_of(counts: RunStats, started: float) -> Pace | None:
    """How an attempt that began at `started` (time.time()) is doing; None until all its actors are at work."""
    if counts.warm is None or not counts.history:
        return None
    measured = counts.history[-1][0] - counts.warm[0]
    rate = counts.recent_rate(measured)
    return Pace(counts.photos, rate, measured, counts.warm[0] - started, counts.work) if rate else None


def readable(error: BaseException, out: str | None = None) -> BaseException:
    """The QpertError that an actor raised, or that says what happened to `out`, dug out of what Ray wraps around it.

    Else the error itself.
    """
    cause: BaseException | None = error
    while cause is not None:
        # Ray makes classes that are both its own error and the cause's; the plain one has the plain message.
        if type(cause) is QpertError:
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    if out is not None and out_of_space(error):
        return QpertError(full(out))
    # Of an actor that could not start, Ray keeps the traceback as text only.
    lines = re.findall(rf"^{QpertError.__module__}\.{QpertError.__name__}: (.+)$", str(error), re.MULTILINE)
    return QpertError(lines[-1]) if lines else error

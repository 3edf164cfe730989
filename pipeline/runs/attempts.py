"""Attempts at running a graph to its end: after a failure that Ray cannot handle, the next one goes on."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.ray_compat import execution_timeout
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
from pipeline.runs.status_line import StatusLine

if TYPE_CHECKING:
    from pipeline.runs.graph import Graph

logger = logging.getLogger(__name__)
_RAY_DATA = ("pipeline.runs.index_graph",)
"""What takes a second to import, and is imported while Ray starts."""


@dataclass(frozen=True)
class Done:
    """The attempt that came to its end.

    Attributes:
        counts: what was done in it.
        machines: where it ran.
        graph: what ran.
    """

    counts: RunStats
    machines: Machines
    graph: Graph


class Attempts:
    """Attempts at running a graph to its end.

    Ray recovers from most failures: it restarts dead processes and repeats their work. A failure that it cannot handle
    (too many nodes are gone, or the remaining actors wait for each other) ends an attempt. The next one plans for the
    machines available then and goes on from what is committed, in a Ray session of its own, since only a new session
    frees everything that the last one held. An attempt also ends early if machines join that would finish the rest
    sooner.

    Args:
        store: what is written to, with Ray's checkpoint.
        fingerprint: of what is written there.
        todo: photos to do; None if unknown.
        on_counts: called with what was done so far, now and then and at the end of each attempt.
        verbose: show Ray's own messages.
        execute: takes the place of `run_graph`: runs a graph in the current Ray session.
    """

    def __init__(
        self,
        store: FeatureStore,
        fingerprint: str,
        todo: int | None,
        on_counts: Callable[[RunStats], None] = lambda counts: None,
        *,
        verbose: bool = False,
        execute: Callable[..., None] | None = None,
    ) -> None:
        self.store, self.fingerprint, self.todo = store, fingerprint, todo
        self.on_counts, self.verbose, self.execute = on_counts, verbose, execute
        self.files = self.begun_with = self._committed()
        self.in_vain, self.number, self.status = 0, 0, StatusLine()
        self.stopped: str | None = None  # why the attempt was ended for a faster one
        self.lost: QpertError | None = None  # another run has taken over the lock
        self.gpus = 0.0  # GPUs that are free once the session has ended

    def run(
        self,
        make_graph: Callable[[Machines], Graph],
        find_machines: Callable[[], Machines],
        *,
        address: str | None = None,
        cpus: int | None = None,
    ) -> Done:
        """Makes as many attempts as it takes.

        Args:
            make_graph: builds the graph for the machines of an attempt.
            find_machines: finds the machines, at the start of each attempt.
            address: see `ray_session`.
            cpus: see `ray_session`.

        Raises:
            QpertError: a model does not work, the cluster lacks what was asked for, or attempt after attempt makes no
                progress. What is done stays done.
            KeyboardInterrupt: with what to do next as its text.
        """
        self.status.show("starting Ray ...")
        try:
            while True:
                with ray_session(address, cpus=cpus, verbose=self.verbose, modules=_RAY_DATA) as ours:
                    try:
                        if self.number:
                            settle(self.gpus)
                        machines = find_machines()
                        graph = make_graph(machines)
                        return Done(self._once(graph, machines, make_graph, ours), machines, graph)
                    except _broken() as error:
                        self.may_go_on(error, ours)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("run the same command again to go on where it stopped") from None
        finally:
            self.status.close()

    def _once(self, graph: Graph, machines: Machines, make_graph: Callable[[Machines], Graph], ours: bool) -> RunStats:
        """Makes one attempt. In a session of ours it ends when machines join that would finish sooner."""
        self.number += 1
        self.files = self._committed()
        self.gpus = held = graph.reserved_gpus
        run_actor, todo = start_run_actor(sum(pool.size for pool in graph.pools.values())), self.left()
        rescaling = Rescaling(
            machines, graph.pools, lambda now: make_graph(now).pools, graph.file_rows, todo if ours else None
        )
        started = time.time()

        def look(counts: RunStats) -> None:
            try:
                self.store.folder.check_lock()
            except QpertError as error:
                self.lost = error
                run_actor.request_stop.remote(str(error))
                return
            self.on_counts(counts)
            pace = pace_of(counts, started) if self.stopped is None else None
            if pace is not None and (restart := rescaling.poll(pace)):
                self.gpus = held + sum((restart.machines.free_gpus or {}).values())
                self.stopped = (
                    f"now there are {restart.machines}, not {machines}: restarting from what is done,"
                    f" {duration(restart.saves)} sooner"
                )
                run_actor.request_stop.remote(self.stopped)

        with progress(run_actor, todo, look, self.status):
            self._execute(graph, run_actor)
        counts: RunStats = ray.get(run_actor.read.remote())
        self.on_counts(counts)
        return counts

    def _execute(self, graph: Graph, run_actor: Any) -> None:
        from pipeline.runs.graph import run_graph  # Ray Data, see _RAY_DATA

        (self.execute or run_graph)(graph, run_actor, verbose=self.verbose)

    def may_go_on(self, error: BaseException, ours: bool) -> None:
        """Returns if another attempt makes sense, and raises what the user should read otherwise.

        It makes sense after a failure of the machines, in a session that is ours to end, and at most twice in a row
        without progress.
        """
        if self.lost is not None:
            raise self.lost from error
        reason, self.stopped = self.stopped, None
        if reason is not None:
            logger.info(reason)
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
                f"Ray could not go on, three times without anything done: {one_line(cause)}. Are all nodes of the"
                " cluster up? Run the same command again to go on; --verbose shows more"
            ) from error
        logger.warning(f"Ray could not go on ({printable(one_line(cause))}); starting again from what is done")

    def left(self) -> int | None:
        """Returns the number of photos that are left; None if unknown."""
        if self.todo is None:
            return None
        written = sorted(self.files - self.begun_with)
        return self.todo - self.store.files(self.fingerprint).stored_rows(written)

    def _committed(self) -> frozenset[str]:
        return frozenset(self.store.files(self.fingerprint).names)


def _broken() -> tuple[type[Exception], ...]:
    """The classes of failures that Ray could not handle; a function, since they come with Ray Data."""
    return ray.exceptions.RayError, execution_timeout()


def pace_of(counts: RunStats, started: float) -> Pace | None:
    """Measures the pace of an attempt that began at `started` (time.time()); None until all its actors are at work."""
    if counts.warm is None or not counts.history:
        return None
    measured = counts.history[-1][0] - counts.warm[0]
    rate = counts.recent_rate(measured)
    return Pace(counts.photos, rate, measured, counts.warm[0] - started, counts.work) if rate else None


def readable(error: BaseException, out: str | None = None) -> BaseException:
    """Unwraps Ray's error: returns the QpertError of an actor, or one about a full `out`, or else `error` itself."""
    cause: BaseException | None = error
    while cause is not None:
        # Ray raises classes that derive from its own error and the cause's; the original has the original message.
        if type(cause) is QpertError:
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    if out is not None and out_of_space(error):
        return QpertError(full(out))
    # For an actor that could not start, Ray keeps only the text of the traceback.
    lines = re.findall(rf"^{QpertError.__module__}\.{QpertError.__name__}: (.+)$", str(error), re.MULTILINE)
    return QpertError(lines[-1]) if lines else error

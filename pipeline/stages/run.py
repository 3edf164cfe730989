"""One run of the graph into a feature set: manifest before, progress during, counts after."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.parquet as pq
import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.errors import QpertError
from pipeline.features import committed_files, count_rows, feature_files
from pipeline.manifest import Manifest
from pipeline.patience import full, out_of_space
from pipeline.printing import printable
from pipeline.stages.graph import Graph, run_graph
from pipeline.stages.guard import short
from pipeline.stages.machines import Machines
from pipeline.stages.newcomers import Newcomers
from pipeline.stages.progress import progress
from pipeline.stages.session import ray_session
from pipeline.stages.tally import Counts, start_tally
from pipeline.stages.waiting import machines_with, settle
from pipeline.storage import exclusive, locate

_BROKEN = (ray.exceptions.RayError, ExecutionTimeoutError)


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        counts: of this run, or of its last attempt where it took several.
        totals: ``photos``, ``failed`` and ``objects`` in the feature set now.
        seconds: wall-clock time, with starting Ray and loading models.
        machines: that there were, in the last attempt.
        graph: as it ran on them.
        attempts: how many it took.
    """

    counts: Counts
    totals: dict[str, int]
    seconds: float
    machines: Machines
    graph: Graph
    attempts: int = 1


def index_photos(
    make_graph: Callable[[Machines], Graph],
    manifest: Manifest,
    out: str,
    *,
    find_machines: Callable[[], Machines] = machines_with,
    todo: int | None = None,
    address: str | None = None,
    cpus: int | None = None,
    verbose: bool = False,
) -> Outcome:
    """Run the graph to its end and leave `out` complete.

    Ray mends most of what breaks: it starts a dead process or its work anew. What it cannot mend (of the nodes too many
    are gone, or what is left waits for each other) ends an attempt; the next one begins with the machines that there
    are then and goes on from what is committed, in a Ray session of its own, as only that frees all of the last one.
    So it is when machines have joined with which the rest is done sooner.

    Args:
        make_graph: the graph for the machines that there are.
        manifest: what to write into `out`; its state, shape and counts are filled in here.
        out: folder or URI of the feature set.
        find_machines: finds these, at the start of each attempt.
        todo: photos that will be indexed, for the progress; None when unknown.
        address: see `ray_session`.
        cpus: see `ray_session`.
        verbose: show Ray's own messages.

    Raises:
        QpertError: a model does not work, the cluster lacks what was asked for, or another run is writing to `out`.
            What is done stays done.
        KeyboardInterrupt: with what to do next as its text.
    """
    started = time.monotonic()
    manifest = manifest.model_copy(update={"state": "running"})
    with exclusive(out):
        there = Manifest.find(out)
        if there is not None and there.fingerprint != manifest.fingerprint and feature_files(out, there):
            raise QpertError(
                f"another run has just written features with other settings to {out}; choose another --out"
            )
        if there is not None and there.fingerprint == manifest.fingerprint and manifest.vectors is None:
            manifest = manifest.model_copy(update={"vectors": there.vectors, "dim": there.dim})
        manifest.write(out)
        attempts = Attempts(out, manifest, todo)
        while True:
            with ray_session(address, cpus=cpus, verbose=verbose) as ours:
                try:
                    if attempts.number:
                        settle(attempts.gpus)
                    machines = find_machines()
                    graph = make_graph(machines)
                    counts = attempts.run(graph, machines, make_graph, ours=ours, verbose=verbose)
                    break
                except _BROKEN as error:
                    attempts.may_go_on(error, ours)
        manifest = attempts.manifest
        manifest = manifest.model_copy(update={"state": "complete", "devices": manifest.devices | attempts.devices})
        totals = count_rows(out, manifest)
        manifest.model_copy(update={"counts": totals}).write(out)
    return Outcome(counts, totals, time.monotonic() - started, machines, graph, attempts.number)


class Attempts:
    """At running a graph to its end.

    Args:
        out: the feature set.
        manifest: of it; V and D are written down in it when the first encoder is up.
        todo: photos to index; None when unknown.
    """

    def __init__(self, out: str, manifest: Manifest, todo: int | None) -> None:
        self.out, self.manifest, self.todo = out, manifest, todo
        self.files = self.begun_with = self._committed()
        self.in_vain, self.number = 0, 0
        self.stopped: str | None = None  # why the attempt is ended for a better one
        self.gpus = 0.0  # that are free once the session has ended
        self.devices: dict[str, float] = {}

    def run(
        self,
        graph: Graph,
        machines: Machines,
        make_graph: Callable[[Machines], Graph],
        *,
        ours: bool = True,
        verbose: bool = False,
    ) -> Counts:
        """One attempt, in the current Ray session: what was done in it.

        Args:
            graph: planned for `machines`.
            machines: that there are.
            make_graph: plans one for others.
            ours: the session is ours to end, and so is the attempt, where a new one would be done sooner with machines
                that have joined.
            verbose: show Ray's own messages.
        """
        self.number += 1
        self.files = self._committed()
        self.gpus = held = sum(pool.size * (pool.num_gpus or 0.0) for pool in graph.pools.values())
        tally, todo = start_tally(sum(pool.size for pool in graph.pools.values())), self.left()
        newcomers = Newcomers(
            machines, graph.pools, lambda now: make_graph(now).pools, graph.file_rows, todo if ours else None
        )

        def look(counts: Counts) -> None:
            self._note_shape(counts)
            if self.stopped is None and (reason := newcomers.worth(counts)):
                self.stopped, self.gpus = reason, held + sum((newcomers.last.free_gpus or {}).values())
                tally.stop.remote(reason)

        try:
            with progress(tally, todo, look):
                run_graph(graph, tally, verbose=verbose)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("run the same command again to go on where it stopped") from None
        counts: Counts = ray.get(tally.read.remote())
        self._note_shape(counts)
        return counts

    def may_go_on(self, error: BaseException, ours: bool) -> None:
        """Whether another attempt makes sense; where it does not, raises what the user shall read.

        It does after a failure of the machines, in a session that is ours to end; twice at most without anything done.
        """
        reason, self.stopped = self.stopped, None
        if reason is not None:
            print(reason, file=sys.stderr)
            return
        cause = readable(error, self.out)
        failed = cause.cause if isinstance(cause, ray.exceptions.RayTaskError) else None
        if isinstance(failed, OSError):
            cause = QpertError(
                f"storage failed again and again ({short(failed)}); run the same command again to go on when it works"
            )
        if isinstance(cause, QpertError) or not ours or not isinstance(failed, ray.exceptions.RayError | None):
            raise cause from error
        before, self.files = self.files, self._committed()
        self.in_vain = self.in_vain + 1 if self.files == before else 0
        if self.in_vain > 2:
            raise QpertError(
                f"Ray could not go on, three times without anything done: {short(cause)}. Is the cluster whole? Run the"
                " same command again to go on; --verbose shows more"
            ) from error
        print(
            f"warning: Ray could not go on ({printable(short(cause))}); starting anew from what is done",
            file=sys.stderr,
        )

    def left(self) -> int | None:
        """Photos that the attempt has before it; None when unknown."""
        if self.todo is None:
            return None
        filesystem, _ = locate(self.out)
        written = sorted(self.files - self.begun_with)
        return self.todo - sum(int(pq.read_metadata(path, filesystem=filesystem).num_rows) for path in written)

    def _committed(self) -> frozenset[str]:
        return frozenset(committed_files(self.out, self.manifest.fingerprint))

    def _note_shape(self, counts: Counts) -> None:
        """The first encoder that is up says what V and D are, before any feature is written; and how they differ."""
        kinds = {f"{device} in {dtype}": far for (device, dtype), far in sorted(counts.differences.items())}
        self.devices |= {kind: max(far, self.devices.get(kind, 0.0)) for kind, far in kinds.items()}
        if counts.embedding is not None and self.manifest.vectors is None:
            shape = dict(zip(("vectors", "dim"), counts.embedding, strict=True))
            self.manifest = self.manifest.model_copy(update=shape)
            self.manifest.write(self.out)


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

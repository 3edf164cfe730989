"""One run of the graph into a feature set: manifest before, progress during, counts after."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import ray

from pipeline.errors import QpertError
from pipeline.features import count_rows, feature_files
from pipeline.manifest import Manifest
from pipeline.stages.graph import Graph, run_graph
from pipeline.stages.machines import Machines
from pipeline.stages.progress import progress
from pipeline.stages.session import ray_session
from pipeline.stages.tally import Counts, start_tally
from pipeline.storage import exclusive


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        counts: of this run.
        totals: ``photos``, ``failed`` and ``objects`` in the feature set now.
        seconds: wall-clock time, with starting Ray and loading models.
        gpus: GPUs that were there, by type.
    """

    counts: Counts
    totals: dict[str, int]
    seconds: float
    gpus: Counter[str]


def index_photos(
    make_graph: Callable[[Machines], Graph],
    manifest: Manifest,
    out: str,
    *,
    todo: int | None = None,
    address: str | None = None,
    cpus: int | None = None,
    verbose: bool = False,
) -> Outcome:
    """Run the graph to its end and leave `out` complete.

    Args:
        make_graph: the graph for the machines that there are.
        manifest: what to write into `out`; its state, shape and counts are filled in here.
        out: folder or URI of the feature set.
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
    with exclusive(out), ray_session(address, cpus=cpus, verbose=verbose):
        there = Manifest.find(out)
        if there is not None and there.fingerprint != manifest.fingerprint and feature_files(out, there):
            raise QpertError(
                f"another run has just written features with other settings to {out}; choose another --out"
            )
        manifest.write(out)
        machines = Machines.cluster()
        graph = make_graph(machines)
        tally = start_tally(sum(pool.size for pool in graph.pools.values()))

        def note_shape(counts: Counts) -> None:
            """The first encoder that is up says what V and D are, before any feature is written."""
            nonlocal manifest
            if counts.embedding is not None and manifest.vectors is None:
                manifest = manifest.model_copy(update=dict(zip(("vectors", "dim"), counts.embedding, strict=True)))
                manifest.write(out)

        try:
            with progress(tally, todo, note_shape):
                run_graph(graph, tally, verbose=verbose)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("run the same command again to go on where it stopped") from None
        except ray.exceptions.RayError as error:
            raise readable(error) from error
        counts: Counts = ray.get(tally.read.remote())
        note_shape(counts)
    manifest = manifest.model_copy(update={"state": "complete"})
    totals = count_rows(out, manifest)
    manifest.model_copy(update={"counts": totals}).write(out)
    return Outcome(counts, totals, time.monotonic() - started, machines.gpus)


def readable(error: BaseException) -> BaseException:
    """The QpertError that an actor raised, dug out of what Ray wraps around it; else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        # Ray makes classes that are both its own error and the cause's; the plain one has the plain message.
        if type(cause) is QpertError:
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    # Of an actor that could not start, Ray keeps the traceback as text only.
    lines = re.findall(rf"^{QpertError.__module__}\.{QpertError.__name__}: (.+)$", str(error), re.MULTILINE)
    return QpertError(lines[-1]) if lines else error

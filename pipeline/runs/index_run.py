"""One run of the graph into a feature set: manifest before, progress during, counts after."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipeline.cluster.machines import Machines
from pipeline.cluster.waiting import machines_with
from pipeline.errors import QpertError
from pipeline.features.feature_set import count_rows, feature_files
from pipeline.features.manifest import Manifest
from pipeline.features.mending import drop_repeated, mend, note_committed, take_back
from pipeline.io.locations import exclusive
from pipeline.runs.attempts import Attempts
from pipeline.runs.graph import Graph, run_graph
from pipeline.runs.run_stats import RunStats


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

    counts: RunStats
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
    exact: bool = True,
    address: str | None = None,
    cpus: int | None = None,
    verbose: bool = False,
) -> Outcome:
    """Run the graph to its end, in as many `Attempts` as it takes, and leave `out` complete.

    Args:
        make_graph: the graph for the machines that there are.
        manifest: what to write into `out`; its state, shape and counts are filled in here.
        out: folder or URI of the feature set.
        find_machines: finds these, at the start of each attempt.
        todo: photos that will be indexed; None when unknown.
        exact: there are so many, so a run that writes fewer is not complete; else the number is for the progress only.
        address: see `ray_session`.
        cpus: see `ray_session`.
        verbose: show Ray's own messages.

    Raises:
        QpertError: a model does not work, the cluster lacks what was asked for, another run is writing to `out`, or
            photos are missing in the end. What is done stays done.
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
        if there is not None:
            take_back(out, there.fingerprint)
            mend(out, manifest.fingerprint, adopt=there.fingerprint == manifest.fingerprint)
        before = count_rows(out, manifest)["photos"]
        noted = _Noted(out, manifest)
        attempts = Attempts(out, manifest.fingerprint, todo, partial(run_graph, verbose=verbose), noted)
        done = attempts.run(make_graph, find_machines, address=address, cpus=cpus, verbose=verbose)
        manifest = noted.manifest
        manifest = manifest.model_copy(update={"state": "complete", "devices": manifest.devices | noted.devices})
        totals = close(out, manifest.fingerprint)
        if exact and todo is not None and totals["photos"] - before < todo:
            missing = todo - (totals["photos"] - before)
            raise QpertError(
                f"{missing:,} of {todo:,} photos are missing from {out}, though nothing failed; the rest is kept. Run"
                " the same command again to index them"
            )
        manifest.model_copy(update={"counts": totals}).write(out)
    return Outcome(done.counts, totals, time.monotonic() - started, done.machines, done.plan, attempts.number)


def close(out: str, fingerprint: str) -> dict[str, int]:
    """Note what is committed in the ledger, see that no photo is there twice, and count.

    Returns:
        ``photos``, ``failed`` and ``objects`` that count.

    Raises:
        QpertError: a file is damaged.
    """
    store = note_committed(out, fingerprint)
    if repeated := drop_repeated(store):
        print(f"warning: {repeated:,} photos were indexed twice; their later rows count", file=sys.stderr)
        store = note_committed(out, fingerprint)
    return store.counts()


class _Noted:
    """The manifest of a run that goes on, with what its encoders say.

    V and D are written down before any feature is: by the first encoder that is up.
    """

    def __init__(self, out: str, manifest: Manifest) -> None:
        self.out, self.manifest = out, manifest
        self.devices: dict[str, float] = {}

    def __call__(self, counts: RunStats) -> None:
        """Note what is new in `counts`: how far devices differ, and the shape of the embeddings."""
        kinds = {f"{device} in {dtype}": far for (device, dtype), far in sorted(counts.differences.items())}
        self.devices |= {kind: max(far, self.devices.get(kind, 0.0)) for kind, far in kinds.items()}
        if counts.embedding is not None and self.manifest.vectors is None:
            shape = dict(zip(("vectors", "dim"), counts.embedding, strict=True))
            self.manifest = self.manifest.model_copy(update=shape)
            self.manifest.write(self.out)

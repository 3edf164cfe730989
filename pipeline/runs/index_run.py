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
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
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
    store: FeatureStore,
    *,
    find_machines: Callable[[], Machines] = machines_with,
    todo: int | None = None,
    exact: bool = True,
    address: str | None = None,
    cpus: int | None = None,
    verbose: bool = False,
) -> Outcome:
    """Run the graph to its end, in as many `Attempts` as it takes, and leave `store` complete.

    Args:
        make_graph: the graph for the machines that there are.
        manifest: what to write into `store`; its state, shape and counts are filled in here.
        store: the feature set.
        find_machines: finds these, at the start of each attempt.
        todo: photos that will be indexed; None when unknown.
        exact: there are so many, so a run that writes fewer is not complete; else the number is for the progress only.
        address: see `ray_session`.
        cpus: see `ray_session`.
        verbose: show Ray's own messages.

    Raises:
        QpertError: a model does not work, the cluster lacks what was asked for, another run is writing to `store`, or
            photos are missing in the end. What is done stays done.
        KeyboardInterrupt: with what to do next as its text.
    """
    started = time.monotonic()
    manifest = manifest.model_copy(update={"state": "running"})
    with store.lock():
        there = store.find_manifest()
        if there is not None and there.fingerprint != manifest.fingerprint and store.files_of(there).names:
            raise QpertError(
                f"another run has just written features with other settings to {store.root}; choose another --out"
            )
        if there is not None and there.fingerprint == manifest.fingerprint and manifest.vectors is None:
            manifest = manifest.model_copy(update={"vectors": there.vectors, "dim": there.dim})
        store.write_manifest(manifest)
        if there is not None:
            store.take_back(there.fingerprint)
            store.mend(manifest.fingerprint, adopt=there.fingerprint == manifest.fingerprint)
        before = store.counts(manifest)["photos"]
        noted = _Noted(store, manifest)
        attempts = Attempts(store, manifest.fingerprint, todo, partial(run_graph, verbose=verbose), noted)
        done = attempts.run(make_graph, find_machines, address=address, cpus=cpus, verbose=verbose)
        manifest = noted.manifest
        manifest = manifest.model_copy(update={"state": "complete", "devices": manifest.devices | noted.devices})
        totals = close(store, manifest.fingerprint)
        if exact and todo is not None and totals["photos"] - before < todo:
            missing = todo - (totals["photos"] - before)
            raise QpertError(
                f"{missing:,} of {todo:,} photos are missing from {store.root}, though nothing failed; the rest is"
                " kept. Run the same command again to index them"
            )
        store.write_manifest(manifest.model_copy(update={"counts": totals}))
    return Outcome(done.counts, totals, time.monotonic() - started, done.machines, done.plan, attempts.number)


def close(store: FeatureStore, fingerprint: str) -> dict[str, int]:
    """Note what is committed in the ledger, see that no photo is there twice, and count.

    Returns:
        ``photos``, ``failed`` and ``objects`` that count.

    Raises:
        QpertError: a file is damaged.
    """
    files = store.note_committed(fingerprint)
    if repeated := store.drop_repeated(fingerprint):
        print(f"warning: {repeated:,} photos were indexed twice; their later rows count", file=sys.stderr)
        files = store.note_committed(fingerprint)
    return files.counts()


class _Noted:
    """The manifest of a run that goes on, with what its encoders say.

    V and D are written down before any feature is: by the first encoder that is up.
    """

    def __init__(self, store: FeatureStore, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self.devices: dict[str, float] = {}

    def __call__(self, counts: RunStats) -> None:
        """Note what is new in `counts`: how far devices differ, and the shape of the embeddings."""
        kinds = {f"{device} in {dtype}": far for (device, dtype), far in sorted(counts.differences.items())}
        self.devices |= {kind: max(far, self.devices.get(kind, 0.0)) for kind, far in kinds.items()}
        if counts.embedding is not None and self.manifest.vectors is None:
            shape = dict(zip(("vectors", "dim"), counts.embedding, strict=True))
            self.manifest = self.manifest.model_copy(update=shape)
            self.store.write_manifest(self.manifest)

"""The graph run into a feature set, in as many attempts as it takes: manifest before, progress during, counts after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.cluster.machines import Machines
from pipeline.cluster.waiting import machines_with
from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.io.locations import is_uri
from pipeline.runs.attempts import Attempts
from pipeline.runs.outcome import Outcome
from pipeline.runs.run_stats import RunStats

if TYPE_CHECKING:
    from pipeline.runs.graph import Graph

logger = logging.getLogger(__name__)
LISTING_LAG, LISTING_PAUSE = 60.0, 2.0
"""Seconds for which a bucket may list less than was written, and seconds between two looks."""


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
    """Runs the graph to its end, in as many `Attempts` as it takes, and leaves `store` complete.

    Args:
        make_graph: builds the graph for the machines of an attempt.
        manifest: what to write into `store`; its state, shape and counts are filled in here.
        store: the feature set.
        find_machines: finds the machines, at the start of each attempt.
        todo: photos that will be indexed; None if unknown.
        exact: `todo` is exact, so a run that writes fewer photos is not complete; else it is for the progress only.
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
        earlier = store.find_manifest()
        if earlier is not None and earlier.fingerprint != manifest.fingerprint and store.files_of(earlier).names:
            raise QpertError(
                f"another run has just written features with other settings to {store.root}; choose another --out"
            )
        if earlier is not None and earlier.fingerprint == manifest.fingerprint and manifest.vectors is None:
            manifest = manifest.model_copy(update={"vectors": earlier.vectors, "dim": earlier.dim})
        store.write_manifest(manifest)
        if earlier is not None:
            store.take_back(earlier.fingerprint)
            store.mend(manifest.fingerprint, adopt=earlier.fingerprint == manifest.fingerprint)
        before = store.counts(manifest)["photos"]
        keeper = _ManifestKeeper(store, manifest)
        attempts = Attempts(store, manifest.fingerprint, todo, keeper, verbose=verbose)
        done = attempts.run(make_graph, find_machines, address=address, cpus=cpus)
        manifest = keeper.manifest
        manifest = manifest.model_copy(update={"state": "complete", "devices": manifest.devices | keeper.devices})
        expected = todo if exact else done.counts.photos if attempts.number == 1 else None
        totals = _close_when_listed(store, manifest.fingerprint, None if expected is None else before + expected)
        if exact and todo is not None and totals["photos"] - before < todo:
            missing = todo - (totals["photos"] - before)
            raise QpertError(
                f"{missing:,} of {todo:,} photos are missing from {store.root}, though nothing failed; the rest is"
                " kept. Run the same command again to index them"
            )
        store.write_manifest(manifest.model_copy(update={"counts": totals}))
    return Outcome(done.counts, totals, time.monotonic() - started, done.machines, done.graph, attempts.number)


def close(store: FeatureStore, fingerprint: str) -> dict[str, int]:
    """Notes in the ledger what is committed, drops repeated photos, and counts.

    Returns:
        ``photos``, ``failed`` and ``objects`` of the rows in use.

    Raises:
        QpertError: a file is damaged.
    """
    files = store.note_committed(fingerprint)
    if repeated := store.drop_repeated(fingerprint):
        logger.warning(f"{repeated:,} photos were indexed twice; their later rows count")
        files = store.note_committed(fingerprint)
    return files.counts()


def _close_when_listed(store: FeatureStore, fingerprint: str, expected: int | None) -> dict[str, int]:
    """Like `close`, but gives a bucket that lists new files late the time to show all of `expected` photos."""
    until = time.monotonic() + (LISTING_LAG if is_uri(store.root) else 0.0)
    while True:
        over = time.monotonic() >= until
        try:
            totals = close(store, fingerprint)
        except QpertError:
            if over:
                raise
        else:
            if over or expected is None or totals["photos"] >= expected:
                return totals
        time.sleep(LISTING_PAUSE)


class _ManifestKeeper:
    """Keeps the manifest of a run up to date with what its encoders report.

    V and D are written before any feature is, when the first encoder is up.
    """

    def __init__(self, store: FeatureStore, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self.devices: dict[str, float] = {}

    def __call__(self, counts: RunStats) -> None:
        """Notes how far devices differ, and the shape of the embeddings."""
        for (device, dtype), distance in sorted(counts.differences.items()):
            kind = f"{device} in {dtype}"
            self.devices[kind] = max(distance, self.devices.get(kind, 0.0))
        if counts.embedding is not None and self.manifest.vectors is None:
            shape = dict(zip(("vectors", "dim"), counts.embedding, strict=True))
            self.manifest = self.manifest.model_copy(update=shape)
            self.store.write_manifest(self.manifest)

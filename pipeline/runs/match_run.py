"""Re-ranking by image-text matching: photos and their candidate texts -> read -> match -> scores, resumable.

A photo's image tokens and its operator are computed once for all its texts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import ray
from ray.data import Dataset

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import plan_pools
from pipeline.cluster.session import is_local
from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.features.file_sizes import file_rows
from pipeline.features.fingerprint import fingerprint
from pipeline.features.schema import OBJECT_TYPE
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs.attempts import Attempts
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.graph import IO_CPUS, PATIENCE, READING, Graph, StageSpec
from pipeline.runs.progress import gpu_warning
from pipeline.stages.read import read_photos
from pipeline.stages.stage_actor import Step
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

if TYPE_CHECKING:
    from pipeline.stages.match import Scores

logger = logging.getLogger(__name__)
_MATCH = "pipeline.stages.match:MatchStage"  # by name: only its actors import the model libraries
PAIRS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("objects", pa.list_(OBJECT_TYPE)),
        ("texts", pa.list_(pa.int32())),
    ]
)
_NAMED = 3
"""Failed photos that a message names."""
_BLOCK, _FILE = 16, 256
"""Photos per unit of work, and per file at most: each photo takes some hundred passes of the Q-Former."""


@dataclass(frozen=True)
class MatchSpec:
    """What to match.

    Attributes:
        features: the feature set; the scores are kept in it, so that a rerun goes on where this one stopped.
        pairs: a table of `PAIRS_SCHEMA`.
        texts: all texts.
        encoder: scores the pairs; its identity must tell it from any other.
        perturbation: acts where its stages include `itm`.
        worker: micro-batch, dtype and limits of the actors.
        gpus: the GPU types to use.
        patience: seconds without progress after which an attempt counts as stuck.
        rules: what may be read of the photos, whose places the features name.
    """

    features: FeatureStore
    pairs: pa.Table
    texts: Sequence[str]
    encoder: EncoderChoice
    perturbation: Perturbation | None
    worker: Worker = field(default_factory=lambda: Worker(micro_batch=8))
    gpus: NamedGpus = field(default_factory=lambda: NamedGpus(None))
    patience: float = PATIENCE
    rules: SourceRules = DEFAULT_RULES


@dataclass(frozen=True)
class PairSource:
    """The photos of the pairs, with their objects and texts."""

    rules: SourceRules

    def __call__(self, store: FeatureStore, block_rows: int, reporter: Reporter) -> Dataset:
        """A dataset of `PAIRS_SCHEMA` with the bytes of each photo."""
        photos: Dataset = ray.data.read_parquet(store.PAIRS, filesystem=store.ray_filesystem(), num_cpus=IO_CPUS)
        photos = photos.repartition(target_num_rows_per_block=block_rows, strict=True)
        return photos.map_batches(read_beside, fn_kwargs={"reporter": reporter, "rules": self.rules}, **READING)


class MatchRun:
    """Matches what is not matched yet.

    Args:
        spec: what to match.
        address: see `ray_session`; if everything is done already, no session is started.
        cpus: see `ray_session`.
        verbose: show Ray's own messages.
    """

    def __init__(
        self, spec: MatchSpec, *, address: str | None = None, cpus: int | None = None, verbose: bool = False
    ) -> None:
        self.spec, self.address, self.cpus, self.verbose = spec, address, cpus, verbose
        setting = spec.perturbation and spec.perturbation.as_dict()
        question = {"pairs": _digest(spec.pairs), "texts": list(spec.texts), "perturbation": setting}
        self.key = fingerprint(question | {"encoder": spec.encoder.identity})
        self.store = spec.features.scores(self.key)

    def run(self) -> Scores:
        """Returns the matching scores float32 [pairs], photo by photo in the order of the table.

        Raises:
            QpertError: photos that cannot be opened (any more), or a model that does not work.
        """
        spec = self.spec
        ids = spec.pairs["image_id"].to_pylist()
        with self.store.lock():
            self.store.write_pairs(spec.pairs)
            self.store.mend(self.key)
            self.store.forget_failures(self.key)  # they are tried again
            done = _scores(self.store, self.key)
            todo = sum(name not in done for name in ids)
            count = len(spec.pairs["texts"].combine_chunks().flatten())
            kept = f"; {len(ids) - todo:,} photos are done" if todo < len(ids) else ""
            logger.info(f"matching {count:,} pairs of {len(ids):,} photos and captions{kept}")
            if todo:
                self._match(todo)
                done = _scores(self.store, self.key)
        self._check(ids, done)
        scores = [row for name in ids if not isinstance(row := done[name], str)]
        return np.concatenate(scores or [np.zeros(0, np.float32)])

    def graph(self, todo: int, machines: Machines) -> Graph:
        """Builds the graph that matches `todo` photos."""
        spec = self.spec
        pools = plan_pools(
            machines,
            ["match"],
            accelerators=spec.gpus.on(machines),
            blocks=max(1, -(-todo // _BLOCK)),
            needs={} if spec.encoder.need is None else {"match": spec.encoder.need},
            dtype=spec.worker.dtype,
        )
        match = Step(_MATCH, (spec.encoder.build, tuple(spec.texts), spec.perturbation))
        stage = StageSpec({"match": match}, pools["match"], spec.encoder.environment)
        rows = min(_FILE, file_rows(todo, _BLOCK))
        return Graph(self.store, self.key, PairSource(spec.rules), (stage,), spec.worker, _BLOCK, rows, spec.patience)

    def _match(self, todo: int) -> None:
        self.spec.encoder.prepare(runs_here=is_local(self.address))
        attempts = Attempts(self.store, self.key, todo, verbose=self.verbose)
        gpus = self.spec.gpus
        done = attempts.run(
            lambda machines: self.graph(todo, machines), gpus.find, address=self.address, cpus=self.cpus
        )
        named = gpus.on(done.machines)
        if warning := gpu_warning(done.counts, done.machines.gpus, None if named is None else list(named)):
            logger.warning(warning)

    def _check(self, ids: list[str], done: dict[str, Scores | str]) -> None:
        failed = {name: reason for name in ids if isinstance(reason := done.get(name, "no score"), str)}
        if not failed:
            return
        uris = dict(zip(ids, self.spec.pairs["uri"].to_pylist(), strict=True))
        some = "".join(f"\n       {uris[name]}: {reason}" for name, reason in list(failed.items())[:_NAMED])
        more = f"\n       and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise QpertError(
            f"of {len(ids)} photos {len(failed)} could not be matched; re-ranking opens them again where they were"
            f" indexed:{some}{more}\n       What is done is kept: put them back and run the same command, or take them"
            " out of the captions"
        )


def read_beside(pairs: pa.Table, reporter: Reporter, rules: SourceRules = DEFAULT_RULES) -> pa.Table:
    """`read_photos`, with the objects and texts of each photo beside its bytes."""
    photos = read_photos(pairs, reporter, rules)
    return photos.append_column("objects", pairs["objects"]).append_column("texts", pairs["texts"])


def _digest(table: pa.Table) -> str:
    """SHA-256 of everything in a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _scores(store: FeatureStore, key: str) -> dict[str, Scores | str]:
    """What is committed, by photo: its scores, or the reason why it has none."""
    by_photo: dict[str, Scores | str] = {}
    for _, table in store.files(key).tables(["scores", "error"]):
        columns = (table[name] for name in ("image_id", "scores", "error"))
        for name, scores, error in zip(*columns, strict=True):
            by_photo[name.as_py()] = error.as_py() if error.is_valid else scores.values.to_numpy()
    return by_photo

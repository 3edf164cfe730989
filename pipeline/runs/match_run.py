"""The Ray Data graph of re-ranking: photos and their candidate texts -> read -> match -> scores, resumable.

A photo's image tokens and its operator are worked out once for all its texts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Need, Pool, plan_pools
from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.features.file_sizes import file_rows
from pipeline.features.fingerprint import fingerprint
from pipeline.features.schema import OBJECT_TYPE
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs.attempts import Attempts
from pipeline.runs.graph import IO_CPUS, Graph, actors, resumable
from pipeline.stages.encode import EncoderBuilder
from pipeline.stages.match import MatchStage
from pipeline.stages.read import read_photos
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

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
"""Photos per unit of work, and per file at most: a photo has some hundred passes of the Q-Former to make."""


@dataclass(frozen=True)
class Matching:
    """What to match.

    Attributes:
        store: the feature set; the scores are kept in it, so that a rerun goes on where this one stopped.
        pairs: a table of `PAIRS_SCHEMA`.
        texts: all texts.
        make_encoder: called in each actor.
        encoder: all that tells one encoder with its weights from another.
        perturbation: acts where its stages include `itm`.
        worker: micro-batch, dtype and limits of the actors.
        need: from a dtype to the bytes that the model takes; None where it fits anywhere.
        environment: Ray's runtime environment of the actors, for an encoder that needs one of its own.
        gpus: the GPU types to use.
        rules: what may be read of the photos, whose places the features name.
        patience: seconds without anything done after which an attempt counts as stuck.
    """

    store: FeatureStore
    pairs: pa.Table
    texts: Sequence[str]
    make_encoder: EncoderBuilder
    encoder: dict[str, Any]
    perturbation: Perturbation | None
    worker: Worker = field(default_factory=lambda: Worker(micro_batch=8))
    need: Need | None = None
    environment: dict[str, Any] | None = None
    gpus: NamedGpus = field(default_factory=lambda: NamedGpus(None))
    patience: float = Graph.patience
    rules: SourceRules = DEFAULT_RULES


@dataclass(frozen=True)
class MatchPlan:
    """What runs in one attempt, see `pipeline.runs.attempts.Plan`."""

    pools: dict[str, Pool]
    file_rows: int


def match_pairs(
    matching: Matching, *, address: str | None = None, cpus: int | None = None, verbose: bool = False
) -> npt.NDArray[np.float32]:
    """The matching scores float32 [pairs], photo by photo in the order of the table, in as many `Attempts` as it takes.

    Args:
        matching: what to match.
        address: see `ray_session`; where all is done already, none is begun.
        cpus: see `ray_session`.
        verbose: show Ray's own messages.

    Raises:
        QpertError: photos that cannot be opened (any more), or a model that does not work.
    """
    ids = matching.pairs["image_id"].to_pylist()
    setting = matching.perturbation and matching.perturbation.as_dict()
    texts, pairs = list(matching.texts), _digest(matching.pairs)
    key = fingerprint({"pairs": pairs, "texts": texts, "perturbation": setting, "encoder": matching.encoder})
    store = matching.store.scores(key)
    with store.lock():
        store.write_pairs(matching.pairs)
        store.mend(key)
        store.forget_failures(key)  # they are tried again
        done = _scores(store, key)
        todo = sum(name not in done for name in ids)
        count = len(matching.pairs["texts"].combine_chunks().flatten())
        kept = f"; {len(ids) - todo:,} photos are done" if todo < len(ids) else ""
        print(f"matching {count:,} pairs of {len(ids):,} photos and captions{kept}", file=sys.stderr, flush=True)
        if todo:
            attempts = Attempts(store, key, todo, partial(_execute, matching, store, key, verbose))
            plan = partial(_plan, matching, todo)
            attempts.run(plan, matching.gpus.find, address=address, cpus=cpus, verbose=verbose)
            done = _scores(store, key)
    failed = {name: done.get(name, "no score") for name in ids if isinstance(done.get(name, ""), str)}
    if failed:
        uris = dict(zip(ids, matching.pairs["uri"].to_pylist(), strict=True))
        some = "".join(f"\n       {uris[name]}: {reason}" for name, reason in list(failed.items())[:_NAMED])
        more = f"\n       and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise QpertError(
            f"of {len(ids)} photos {len(failed)} could not be matched; re-ranking opens them again where they were"
            f" indexed:{some}{more}\n       What is done is kept: put them back and run the same command, or take them"
            " out of the captions"
        )
    scores = [each for name in ids if not isinstance(each := done[name], str)]
    return np.concatenate(scores or [np.zeros(0, np.float32)])


def _plan(matching: Matching, todo: int, machines: Machines) -> MatchPlan:
    needs = {} if matching.need is None else {"match": matching.need}
    blocks, dtype = max(1, -(-todo // _BLOCK)), matching.worker.dtype
    named = matching.gpus.on(machines)
    pools = plan_pools(machines, ["match"], accelerators=named, blocks=blocks, needs=needs, dtype=dtype)
    return MatchPlan(pools, min(_FILE, file_rows(todo, _BLOCK)))


def _execute(matching: Matching, store: FeatureStore, key: str, verbose: bool, plan: MatchPlan, run_actor: Any) -> None:
    """One attempt, in the current Ray session; what is committed already is skipped."""
    reporter, worker = Reporter(run_actor), matching.worker
    arguments = (matching.make_encoder, tuple(matching.texts), matching.perturbation)
    match = actors(MatchStage, plan.pools["match"], worker, _BLOCK, arguments, reporter, matching.environment)
    options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "num_cpus": IO_CPUS}
    with resumable(store, key, verbose, matching.patience) as write:
        photos = ray.data.read_parquet(store.PAIRS, filesystem=store.ray_filesystem(), num_cpus=IO_CPUS)
        photos = photos.repartition(target_num_rows_per_block=_BLOCK, strict=True)
        photos = photos.map_batches(read_beside, fn_kwargs={"reporter": reporter, "rules": matching.rules}, **options)
        write(photos.map_batches(**match), plan.file_rows)


def read_beside(pairs: pa.Table, reporter: Reporter, rules: SourceRules = DEFAULT_RULES) -> pa.Table:
    """`read_photos`, with the objects and texts of each photo beside its bytes."""
    photos = read_photos(pairs, reporter, rules)
    return photos.append_column("objects", pairs["objects"]).append_column("texts", pairs["texts"])


def _digest(table: pa.Table) -> str:
    """Of all that is in a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _scores(store: FeatureStore, key: str) -> dict[str, npt.NDArray[np.float32] | str]:
    """What is committed, by photo: its scores, or why there are none."""
    found: dict[str, npt.NDArray[np.float32] | str] = {}
    for _, table in store.files(key).tables(["scores", "error"]):
        for name, scores, error in zip(*(table[each] for each in ("image_id", "scores", "error")), strict=True):
            found[name.as_py()] = error.as_py() if error.is_valid else scores.values.to_numpy()
    return found

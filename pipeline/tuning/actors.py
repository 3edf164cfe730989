"""A desk with the actors behind it, for as long as a search goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray

from pipeline.cluster.pools import plan_pools
from pipeline.cluster.waiting import NamedGpus
from pipeline.encoders import encoder_spec, load_encoder, runtime_env
from pipeline.features.provenance import MadeWith
from pipeline.tuning.token_embedder import PING, Sweeper
from pipeline.tuning.trial_server import Desk, Question
from pipeline.workers.device import Dtype
from pipeline.workers.worker import Worker


def as_actor(sweeper: type[Sweeper]) -> Any:
    """The class as Ray takes it: an actor that answers whether it lives beside the one part that it works on."""
    return ray.remote(concurrency_groups={PING: 1})(sweeper)


@contextmanager
def staffed_desk(
    question: Question,
    outcomes: str,
    encoder: str,
    *,
    files: int,
    gpus: NamedGpus,
    patience: float,
    dtype: Dtype = "auto",
    weights: str | None = None,
) -> Iterator[Any]:
    """The actor of a `Desk`, on this node, with as many `Sweeper`s as the cluster has room for; they go in the end.

    Args:
        question: what is measured on.
        outcomes: folder for the ranks of every setting.
        encoder: its name.
        files: of kept tokens: more actors than these would have nothing to do.
        gpus: GPU types to use.
        patience: seconds without any answer after which an actor may be lost.
        dtype: to compute in.
        weights: of the encoder, see `load_text_encoder`.
    """
    manifest = question.store.manifest()
    weights = MadeWith.of(manifest, question.store.root).weights(weights)
    needs = {"sweep": encoder_spec(encoder, weights).memory}
    machines = gpus.find()
    pools = plan_pools(machines, ["sweep"], accelerators=gpus.on(machines), blocks=files, needs=needs, dtype=dtype)
    pool = pools["sweep"]
    worker = Worker(gpu=bool(pool.num_gpus), dtype=dtype, threads=pool.threads)
    options = {**pool.options, "max_restarts": -1, "max_task_retries": 3}
    if environment := runtime_env(encoder):
        options["runtime_env"] = environment
    arguments = partial(load_encoder, encoder, weights=weights), question.store.tokens, manifest.precision, worker
    sweepers = [as_actor(Sweeper).options(**options).remote(*arguments) for _ in range(pool.size)]
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    at_desk: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 10_000, "label_selector": here}
    at_desk |= {"max_restarts": -1, "max_task_retries": 3}
    desk = ray.remote(Desk).options(**at_desk).remote(question, sweepers, outcomes, patience)
    try:
        yield desk
    finally:
        for actor in (desk, *sweepers):
            ray.kill(actor)

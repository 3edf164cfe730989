"""The trial server and the actors behind it, for the duration of a search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray

from pipeline.cluster.pools import plan_pools
from pipeline.cluster.ray_compat import this_node
from pipeline.cluster.waiting import NamedGpus
from pipeline.encoders import encoder_spec, load_encoder, runtime_env
from pipeline.features.provenance import MadeWith
from pipeline.tuning.token_embedder import PING, TokenEmbedder
from pipeline.tuning.trial_server import TrialData, TrialServer
from pipeline.workers.device import Dtype
from pipeline.workers.worker import Worker

_POOL = "embed"


def as_actor(embedder: type[TokenEmbedder]) -> Any:
    """The class as a Ray actor that answers pings while it works on a part."""
    return ray.remote(concurrency_groups={PING: 1})(embedder)


@contextmanager
def start_trial_server(
    data: TrialData,
    outcomes: str,
    encoder: str,
    *,
    files: int,
    gpus: NamedGpus,
    patience: float,
    dtype: Dtype = "auto",
    weights: str | None = None,
) -> Iterator[Any]:
    """Starts a `TrialServer` actor on this node and as many `TokenEmbedder`s as fit; stops them all at the end.

    Args:
        data: what trials are measured on.
        outcomes: folder for the ranks of every setting.
        encoder: its name.
        files: number of token files: more actors would have nothing to do.
        gpus: GPU types to use.
        patience: seconds without any answer after which the embedders are pinged.
        dtype: number format to compute in.
        weights: see `load_text_encoder`.
    """
    manifest = data.store.manifest()
    weights = MadeWith.of(manifest, data.store.root).weights(weights)
    needs = {_POOL: encoder_spec(encoder, weights).memory}
    machines = gpus.find()
    pools = plan_pools(machines, [_POOL], accelerators=gpus.on(machines), blocks=files, needs=needs, dtype=dtype)
    pool = pools[_POOL]
    worker = Worker(gpu=bool(pool.num_gpus), dtype=dtype, threads=pool.threads)
    options = {**pool.options, "max_restarts": -1, "max_task_retries": 3}
    if environment := runtime_env(encoder):
        options["runtime_env"] = environment
    arguments = partial(load_encoder, encoder, weights=weights), data.store.tokens, manifest.precision, worker
    embedders = [as_actor(TokenEmbedder).options(**options).remote(*arguments) for _ in range(pool.size)]
    server_options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 10_000, "label_selector": this_node()}
    server_options |= {"max_restarts": -1, "max_task_retries": 3}
    server = ray.remote(TrialServer).options(**server_options).remote(data, embedders, outcomes, patience)
    try:
        yield server
    finally:
        for actor in (server, *embedders):
            ray.kill(actor)

"""The Ray Data graph: read -> detect -> encode -> write, resumable.

Encoded bytes travel between the stages, decoded pixels do not. Ray's checkpointing starts at the source and ends at
the Parquet writer: a photo is done when the file that holds its row is committed, and a rerun skips it at the source.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from pipeline.cluster.machines import SMALL
from pipeline.cluster.pools import Pool
from pipeline.datasets.photos.found_photos import LISTING_SCHEMA, Listing, Shards
from pipeline.features.schema import DICTIONARY
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs.committed import Committed
from pipeline.stages.detect import DetectorBuilder, DetectStage
from pipeline.stages.encode import EncoderBuilder, EncodeStage
from pipeline.stages.read import ShardSource, read_photos
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

IO_CPUS = SMALL
"""CPU share that Ray sets aside for a task that reads or writes: they wait more than they compute."""


@dataclass(frozen=True)
class Graph:
    """Everything the graph needs to know.

    Attributes:
        photos: what to index.
        store: the feature set; all nodes must see it.
        fingerprint: of everything that changes the features; keeps checkpoints of different runs apart.
        make_encoder: called in each encode actor.
        make_detector: called in each detect actor; None leaves the stage out.
        settings: the perturbations to embed with, None for plain; the backbone runs once for all.
        with_objects: store object embeddings as well.
        with_tokens: keep the image tokens beside the features as well.
        to_come: what the tokens will be perturbed with; the encoder must have the sites.
        environment: Ray's runtime environment of the encode actors, where the encoder needs one of its own.
        precision: of the stored embeddings, float16 or float32.
        pools: the pools of `detect` and `encode`.
        worker: micro-batch, dtype and limits of the actors.
        block_rows: photos per block, the unit of work.
        file_rows: photos per Parquet file, the unit of commitment.
        limit: index the first so many photos only.
        patience: seconds without anything done after which the run counts as stuck.
    """

    photos: Listing | Shards
    store: FeatureStore
    fingerprint: str
    make_encoder: EncoderBuilder
    make_detector: DetectorBuilder | None
    settings: tuple[Perturbation | None, ...]
    precision: str
    pools: dict[str, Pool]
    worker: Worker
    block_rows: int = 64
    file_rows: int = 256
    limit: int | None = None
    patience: float = 1800.0
    with_objects: bool = False
    with_tokens: bool = False
    to_come: tuple[Perturbation, ...] = ()
    environment: dict[str, Any] | None = None


def run_graph(graph: Graph, run_actor: Any | None = None, *, verbose: bool = False) -> None:
    """Run it to the end in the current Ray session; what is committed already is skipped."""
    with resumable(graph.store, graph.fingerprint, verbose, graph.patience) as write:
        reporter = Reporter(run_actor)
        write(stages(graph, source(graph, reporter), reporter), graph.file_rows)


@contextmanager
def resumable(
    store: FeatureStore, fingerprint: str, verbose: bool = False, patience: float = Graph.patience
) -> Iterator[Callable[[Dataset, int], None]]:
    """A context in which a dataset is made and written to the features of `store`, with Ray's checkpoints on.

    Rows that are committed already are skipped at the source. The dataset must start from a `ray.data.read_*` and have
    unique ids, `image_id`, in every operator.

    Yields:
        What writes a dataset, in files of so many rows.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose
    if not verbose:
        context.issue_detectors_config.detectors = []
    context.target_max_block_size = 16 * 1024**2
    # The newer reader starts up to 32 actors, each with a core of its own, to look at our one listing.
    context.use_datasource_v2 = False
    context.execution_no_progress_timeout_s = patience
    # Its file systems try again by themselves; two that do, one around the other, made sixty tries of six.
    context.retried_io_errors = []
    context.checkpoint_config = Committed(store, fingerprint)

    def write(dataset: Dataset, rows: int) -> None:
        dataset.write_parquet(
            store.FEATURES,
            filesystem=store.ray_filesystem(),
            min_rows_per_file=rows,
            use_dictionary=list(DICTIONARY),
            write_page_checksum=True,
            ray_remote_args={"num_cpus": IO_CPUS},
        )

    with DataContext.current(context), _quiet(verbose):
        yield write


_OURS = ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state")
"""Of an error that ends the run we say ourselves what it was."""


@contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """Keep Ray Data's messages and advice out of the way; its log files have them all the same."""
    if verbose:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\.data")
        for name in list(logging.root.manager.loggerDict):
            if name == "ray.data" or name.startswith("ray.data."):
                logging.getLogger(name).setLevel(logging.ERROR)
        for name in _OURS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield


def source(graph: Graph, reporter: Reporter) -> Dataset:
    """A dataset of `PHOTO_SCHEMA`, its bytes read lazily."""
    if isinstance(graph.photos, Shards):
        shards = ShardSource(graph.photos.shards, graph.block_rows, reporter, graph.limit, graph.photos.rules)
        count = len(graph.photos.shards)
        photos: Dataset = ray.data.read_datasource(shards, override_num_blocks=count, num_cpus=IO_CPUS)
        return photos
    store, batches = graph.store, partial(graph.photos.batches, graph.limit)
    store.write_listing(LISTING_SCHEMA, batches)
    listing: Dataset = ray.data.read_parquet(store.LISTING, filesystem=store.ray_filesystem(), num_cpus=IO_CPUS)
    blocks = listing.repartition(target_num_rows_per_block=graph.block_rows, strict=True)
    options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "num_cpus": IO_CPUS}
    return blocks.map_batches(read_photos, fn_kwargs={"reporter": reporter, "rules": graph.photos.rules}, **options)


def stages(graph: Graph, photos: Dataset, reporter: Reporter) -> Dataset:
    """`photos` with detection and encoding added."""
    rows, worker, pools = graph.block_rows, graph.worker, graph.pools
    if graph.make_detector is not None:
        photos = photos.map_batches(
            **actors(DetectStage, pools["detect"], worker, rows, (graph.make_detector,), reporter)
        )
    arguments = (graph.make_encoder, graph.settings, graph.with_objects, graph.precision)
    encode = actors(EncodeStage, pools["encode"], worker, rows, arguments, reporter, graph.environment)
    if graph.with_tokens:
        encode["fn_constructor_kwargs"] = {"tokens_in": graph.store.tokens, "to_come": graph.to_come}
    return photos.map_batches(**encode)


def actors(
    stage: type,
    pool: Pool,
    worker: Worker,
    rows: int,
    arguments: tuple[Any, ...],
    reporter: Reporter,
    environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What `map_batches` takes to run `stage(*arguments, worker, reporter)` in a pool, on blocks of so many rows.

    Args:
        stage: the actors' class.
        pool: how many actors there are, and where.
        worker: how they work; what the pool says of devices and threads is filled in.
        rows: photos per call.
        arguments: the first ones of the class.
        reporter: where they report.
        environment: Ray's runtime environment, where they need one of their own.
    """
    share = min(1.0, pool.num_gpus or 1.0)
    worker = replace(worker, gpu=bool(pool.num_gpus), share=share, threads=pool.threads, decoders=pool.decoders)
    return {
        "fn": stage,
        "fn_constructor_args": (*arguments, worker, reporter),
        "batch_size": rows,
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(size=pool.size, max_tasks_in_flight_per_actor=2),
        **pool.options,
        **({} if environment is None else {"runtime_env": environment}),
    }

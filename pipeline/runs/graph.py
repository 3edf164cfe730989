"""A graph of Ray Data: a source, stages of actors one after the other, and files that make it resumable.

Encoded bytes travel between the stages, decoded pixels do not. Ray's checkpointing starts at the source and ends at
the Parquet writer: a photo is done when the file that holds its row is committed, and a rerun skips it at the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ray.data import ActorPoolStrategy, Dataset

from pipeline.cluster.machines import SMALL
from pipeline.cluster.pools import Pool
from pipeline.cluster.ray_compat import data_settings
from pipeline.features.schema import DICTIONARY
from pipeline.features.store import FeatureStore
from pipeline.io.storage_waits import listen
from pipeline.runs.committed import checkpoint_of
from pipeline.stages.stage_actor import Step, stage_actor
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

IO_CPUS = SMALL
"""CPU share that Ray sets aside for a task that reads or writes: these wait more than they compute."""
READING: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "num_cpus": IO_CPUS}
"""How `map_batches` calls a function that reads photos."""
PATIENCE = 1800.0
"""Seconds without progress after which a run counts as stuck, unless the user says otherwise."""


class Source(Protocol):
    """Where the photos come from. It starts from a `ray.data.read_*`, or Ray would skip its checkpoints silently."""

    def __call__(self, store: FeatureStore, block_rows: int, reporter: Reporter) -> Dataset:
        """Returns the photos with their bytes, read lazily.

        Args:
            store: what the graph writes to; lists of photos may be put there.
            block_rows: photos per block.
            reporter: is told what was read.
        """
        ...


@dataclass(frozen=True)
class StageSpec:
    """One pool of actors, and the stages that each of them runs.

    Attributes:
        steps: the stages by name, as in reports, in their order; several share the process of an actor.
        pool: how many actors there are, and where.
        environment: Ray's runtime environment, where the actors need one of their own.
    """

    steps: Mapping[str, Step]
    pool: Pool
    environment: dict[str, Any] | None = None

    def map_batches(self, worker: Worker, block_rows: int, reporter: Reporter) -> dict[str, Any]:
        """Keyword arguments of `Dataset.map_batches`. The pool decides on the worker's devices and threads."""
        pool, share = self.pool, min(1.0, self.pool.num_gpus or 1.0)
        worker = replace(worker, gpu=bool(pool.num_gpus), share=share, threads=pool.threads, decoders=pool.decoders)
        steps = tuple(self.steps.values())
        return {
            "fn": stage_actor(steps),
            "fn_constructor_args": (steps, worker, reporter),
            "batch_size": block_rows,
            "batch_format": "pyarrow",
            "compute": ActorPoolStrategy(size=pool.size, max_tasks_in_flight_per_actor=2),
            **pool.options,
            **({} if self.environment is None else {"runtime_env": self.environment}),
        }


@dataclass(frozen=True)
class Graph:
    """What runs in one attempt.

    Attributes:
        store: what is written to; all nodes must see it.
        fingerprint: of everything that changes the rows; keeps checkpoints of different runs apart.
        source: where the photos come from.
        stages: pools of actors that they pass, in this order.
        worker: micro-batch, dtype and limits of the actors.
        block_rows: photos per block, the unit of work.
        file_rows: photos per Parquet file, the unit of commitment.
        patience: seconds without progress after which the attempt counts as stuck.
    """

    store: FeatureStore
    fingerprint: str
    source: Source
    stages: tuple[StageSpec, ...]
    worker: Worker
    block_rows: int = 64
    file_rows: int = 256
    patience: float = PATIENCE

    @property
    def pools(self) -> dict[str, Pool]:
        """The pool of each stage; stages that share actors have the same one."""
        return {name: stage.pool for stage in self.stages for name in stage.steps}

    @property
    def reserved_gpus(self) -> float:
        """GPUs that all actors reserve together."""
        return sum(stage.pool.size * (stage.pool.num_gpus or 0.0) for stage in self.stages)

    @property
    def reserved_cpus(self) -> float:
        """CPU cores that all actors reserve together."""
        return sum(stage.pool.size * stage.pool.num_cpus for stage in self.stages)


def run_graph(graph: Graph, run_actor: Any | None = None, *, verbose: bool = False) -> None:
    """Runs it to the end in the current Ray session; what is committed already is skipped."""
    reporter = Reporter(run_actor)
    before = listen(reporter.send)
    try:
        _run(graph, reporter, verbose)
    finally:
        listen(before)


def _run(graph: Graph, reporter: Reporter, verbose: bool) -> None:
    with resumable(graph.store, graph.fingerprint, verbose, graph.patience, reporter) as write:
        photos = graph.source(graph.store, graph.block_rows, reporter)
        for stage in graph.stages:
            photos = photos.map_batches(**stage.map_batches(graph.worker, graph.block_rows, reporter))
        write(photos, graph.file_rows)


@contextmanager
def resumable(
    store: FeatureStore,
    fingerprint: str,
    verbose: bool = False,
    patience: float = PATIENCE,
    reporter: Reporter | None = None,
) -> Iterator[Callable[[Dataset, int], None]]:
    """A context in which a dataset is made and written to the features of `store`, with Ray's checkpoints on.

    Rows that are committed already are skipped at the source. The dataset must start from a `ray.data.read_*` and have
    unique ids, `image_id`, in every operator.

    Yields:
        A function that writes a dataset, with the number of rows per file.
    """

    def write(dataset: Dataset, rows: int) -> None:
        dataset.write_parquet(
            store.FEATURES,
            filesystem=store.ray_filesystem(None if reporter is None else reporter.send),
            min_rows_per_file=rows,
            use_dictionary=list(DICTIONARY),
            write_page_checksum=True,
            ray_remote_args={"num_cpus": IO_CPUS},
        )

    with data_settings(checkpoint_of(store, fingerprint), verbose=verbose, patience=patience):
        yield write

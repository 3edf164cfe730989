"""The graph on a cluster of made-up GPUs whose speeds differ 4:1: who gets how much, and how near to ideal that is.

Run as ``python -m tests.end_to_end.mixed_gpus PHOTOS``; prints JSON. With ``join`` too a run begins on one A100, a
second joins, and the run begins anew with both. With ``--address`` the nodes are there already, and others see to it
that one joins (`tests/hosts/mixed_gpus.py`). Nodes carry Ray's labels, the encoder sleeps as long as a GPU of that
type is said to take, and computes for real beside, in the number format of that type.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster
from torch import Tensor

from pipeline.benchmarks.graph_alone import TrivialEncoder, write_tiny
from pipeline.cluster.machines import GPU_MEMORY, Machines
from pipeline.cluster.pools import plan_pools
from pipeline.cluster.ray_compat import ACCELERATOR
from pipeline.cluster.rescaling import Rescaling
from pipeline.datasets.photos.source import find_photos
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs.graph import Graph, run_graph
from pipeline.runs.index_graph import index_graph
from pipeline.runs.indexing import index_photos
from pipeline.runs.progress import device_report
from pipeline.runs.run_actor import start_run_actor
from pipeline.runs.run_stats import RunStats
from pipeline.workers.device import Device, Dtype, dtype_for
from pipeline.workers.worker import Worker

SECONDS = {"A100": 0.25, "GeForce-GTX-1080-Ti": 1.0, "Tesla-K80": 0.05}
"""Per photo. The last one would be quickest, and holds too little."""
CAPABILITIES = {"A100": (8, 0), "GeForce-GTX-1080-Ti": (6, 1), "Tesla-K80": (3, 7)}
NODES = {"A100": (2, 80), "GeForce-GTX-1080-Ti": (2, 11), "Tesla-K80": (1, 4)}
"""How many of each, and their memory in GiB."""
NEED = 8 * 2**30
BLOCK = 4
STORE: dict[str, Any] = {"object_store_memory": 100 * 2**20}


def here() -> str:
    """The type of this node's GPU."""
    return str(ray.get_runtime_context().get_node_labels()[ACCELERATOR])


@dataclass(frozen=True)
class Pretended(Device):
    """A device that says it is a GPU and computes on the CPU."""

    def dtype(self, wanted: Dtype = "auto") -> str:
        """By the capability that it pretends to have."""
        return dtype_for(self.capability, wanted)


def find_device(gpu: bool) -> Device:
    """What `this_device` would find on such a node."""
    assert gpu, "an actor without a GPU"
    return Pretended("cpu", f"cuda:{here()}", CAPABILITIES[here()])


class Paced(TrivialEncoder):
    """As quick as the node's GPU is said to be, and as exact as its number format."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.seconds, self.format = SECONDS[here()], dtype

    def backbone(self, pixels: Tensor) -> Tensor:
        """As the trivial encoder, after a while."""
        import torch

        time.sleep(self.seconds * len(pixels))
        return super().backbone(pixels.to(getattr(torch, self.format)).float())


def build(*, device: str, dtype: str) -> Paced:
    """As the encode stage wants it."""
    return Paced(dtype)


def start_cluster(counts: dict[str, int]) -> Cluster:
    """A head without GPUs and a node for each GPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False, **STORE})
    for kind, count in counts.items():
        for _ in range(count):
            add_node(cluster, kind)
    return cluster


def add_node(cluster: Cluster, kind: str) -> None:
    """With one GPU."""
    labels = {ACCELERATOR: kind, GPU_MEMORY: str(NODES[kind][1])}
    cluster.add_node(num_cpus=1, num_gpus=1, labels=labels, **STORE)


def graph_for(folder: Path, photos: int, machines: Machines) -> Graph:
    """Of the encoder alone."""
    return index_graph(
        find_photos(str(folder / "tiny")),
        store=FeatureStore(str(folder / "out")),
        fingerprint="mixed",
        make_encoder=build,
        make_detector=None,
        settings=(None,),
        precision="float16",
        pools=plan_pools(machines, ["encode"], needs={"encode": lambda dtype: NEED}),
        worker=Worker(find_device=find_device),
        block_rows=BLOCK,
        file_rows=max(BLOCK, photos // 32),
    )


def measure(folder: Path, photos: int) -> dict[str, Any]:
    """Index so many tiny photos; by device how many, and the steady part against the ideal."""
    write_tiny(folder / "tiny", photos)
    graph = graph_for(folder, photos, Machines.cluster())
    run_actor = start_run_actor(graph.pools["encode"].size)
    run_graph(graph, run_actor)
    counts: RunStats = ray.get(run_actor.read.remote())
    rows = rows_of(folder)
    assert counts.warm is not None, "done before all actors were up"
    since, before = counts.warm
    ideal = sum(count / SECONDS[kind] for kind, (count, _) in NODES.items() if kind != "Tesla-K80")
    steady = counts.photos - before["encode"]
    elapsed = counts.history[-1][0] - since
    return {
        "photos": len(rows),
        "unique": len({row["image_id"] for row in rows}),
        "failed": sum(row["error"] is not None for row in rows),
        "by_device": Counter(row["device"] for row in rows),
        "dtypes": sorted({f"{row['device']} {row['dtype']}" for row in rows}),
        "actors": counts.devices["encode"],
        "steady_photos": steady,
        "steady_seconds": elapsed,
        "ideal_seconds": steady / ideal,
        "ratio": elapsed / (steady / ideal),
        "report": device_report(counts, 0.01),
        "strict": device_report(counts, 1e-9),
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What was written, without the embeddings."""
    columns = ["image_id", "device", "dtype", "error"]
    rows: list[dict[str, Any]] = pq.read_table(str(folder / "out" / "features"), columns=columns).to_pylist()
    return rows


def join(folder: Path, photos: int, address: str, add: Callable[[], None] | None) -> dict[str, Any]:
    """A run on one A100, in a thread; when it has written something, a second A100 joins: by `add`, or by others."""
    write_tiny(folder / "tiny", photos)
    # A restart that is thought to take two seconds is worth it however little is left, and decided upon soon. The
    # decision has tests of its own.
    with patch.object(Rescaling, "cost", lambda *_: 2.0), ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            index_photos,
            lambda machines: graph_for(folder, photos, machines),
            Manifest(fingerprint="mixed"),
            FeatureStore(str(folder / "out")),
            todo=photos,
            address=address,
        )
        while not running.done() and not written(folder):
            time.sleep(0.5)
        if add is not None:
            add()  # on the main thread, as it must be
        outcome = running.result()
    rows = rows_of(folder)
    return {
        "photos": len(rows),
        "unique": len({row["image_id"] for row in rows}),
        "failed": sum(row["error"] is not None for row in rows),
        "attempts": outcome.attempts,
        "actors": outcome.counts.devices["encode"],
        "last_attempt": outcome.counts.photos,
        "totals": outcome.totals,
    }


def written(folder: Path) -> bool:
    """Whether a run into this folder has committed anything."""
    return any((folder / "out" / "features").glob("*.parquet"))


def main() -> None:
    """Start the cluster if need be, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=int)
    parser.add_argument("join", nargs="?", choices=["join"])
    parser.add_argument("--address", help="of a cluster with such nodes")
    parser.add_argument("--folder", type=Path, help="for photos and features, seen by all nodes")
    words = parser.parse_args()
    kinds = {"A100": 1} if words.join else {kind: count for kind, (count, _) in NODES.items()}
    cluster = None if words.address else start_cluster(kinds)
    address = words.address if cluster is None else cluster.address
    try:
        with TemporaryDirectory(dir=words.folder) as folder:
            if words.join:
                add = None if cluster is None else partial(add_node, cluster, "A100")
                print(json.dumps(join(Path(folder), words.photos, address, add)))
            else:
                hook = {"py_modules": [str(Path(__file__).parents[2] / name) for name in ("pipeline", "jobs", "tests")]}
                ray.init(address=address, runtime_env=hook, log_to_driver=False)
                print(json.dumps(measure(Path(folder), words.photos)))
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()


if __name__ == "__main__":
    main()

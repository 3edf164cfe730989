"""The hardware of a cluster: CPU cores, memory, and GPUs by type with their memory and compute capability."""

from __future__ import annotations

import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from pipeline.cluster.ray_compat import ACCELERATOR, free_resources, nodes
from pipeline.errors import QpertError

UNKNOWN = "unknown"
"""Stands for the type of GPUs on nodes without the label `ACCELERATOR`."""
GPU_MEMORY = "gpu-memory-gib"
"""Our own node label: memory of each GPU of the node in GiB, for nodes where `nvidia-smi` does not work."""
DRIVERS = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")
"""Without any of these (NVIDIA's, Windows' for Linux, AMD's), torch finds no GPU on a machine."""
SMALL = 0.25
"""CPU share of a task that reads, writes or measures; the same for all, so that a stream of one kind never keeps
another from starting."""
_PATIENCE = 60.0
"""Seconds to wait for nodes to report their GPUs."""


@dataclass(frozen=True)
class Gpu:
    """Lower bounds over all GPUs of a type.

    Attributes:
        memory: bytes, None if unknown.
        capability: CUDA compute capability, None if unknown.
    """

    memory: int | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machines:
    """The hardware to compute on.

    Attributes:
        cpus: number of CPU cores.
        gpus: number of GPUs by type, as Ray labels them ("A100", "GeForce-GTX-1080-Ti").
        kinds: memory and compute capability by GPU type.
        memory: main memory for actors on each node, in bytes; empty if unknown.
        free_cpus: CPU cores that no job has reserved; None if unknown.
        free_gpus: whole GPUs that no job has reserved, by type; None if unknown.
        nodes: number of nodes with CPU cores.
    """

    cpus: float
    gpus: Counter[str] = field(default_factory=Counter)
    kinds: Mapping[str, Gpu] = field(default_factory=dict)
    memory: tuple[int, ...] = ()
    free_cpus: float | None = None
    free_gpus: Counter[str] | None = None
    nodes: int = 1

    @classmethod
    def here(cls, cpus: int | None = None) -> Machines:
        """This machine, without Ray, counted with `cpus` cores (None for all)."""
        gpus, gpus_of = Counter[str](), defaultdict[str, list[Gpu]](list)
        if any(map(os.path.exists, DRIVERS)):
            import torch  # takes two seconds, which a machine without a GPU is spared

            for index in range(torch.cuda.device_count()):
                properties = torch.cuda.get_device_properties(index)
                gpus[properties.name] += 1
                gpus_of[properties.name].append(Gpu(properties.total_memory, (properties.major, properties.minor)))
        kinds = {kind: _least(alike) for kind, alike in gpus_of.items()}
        return cls(float(cpus or os.cpu_count() or 1), gpus, kinds, (psutil.virtual_memory().total,))

    @classmethod
    def cluster(cls, ask: bool = True) -> Machines:
        """The nodes of the Ray cluster that are alive now.

        Args:
            ask: run a task on each node with GPUs to learn their memory and compute capability.
        """
        cpus, with_cpus, gpus, memory = 0.0, 0, Counter[str](), list[int]()
        of_node: dict[str, tuple[str, int]] = {}
        gpus_of: dict[str, list[Gpu]] = defaultdict(list)
        alive = [node for node in nodes() if node["Alive"]]
        for node in alive:
            cpus += node["Resources"].get("CPU", 0)
            with_cpus += bool(node["Resources"].get("CPU", 0))
            if node["Resources"].get("CPU", 0) and "memory" in node["Resources"]:
                memory.append(int(node["Resources"]["memory"]))
            if count := int(node["Resources"].get("GPU", 0)):
                kind = node["Labels"].get(ACCELERATOR, UNKNOWN)
                gpus[kind] += count
                if label := node["Labels"].get(GPU_MEMORY):
                    gpus_of[kind].append(_labelled(label))
                elif ask:
                    of_node[node["NodeID"]] = kind, count
        for kind, gpu in _ask(of_node):
            gpus_of[kind].append(gpu)
        free = free_resources()
        free_gpus, free_cpus = Counter[str](), 0.0
        for node in alive:
            left = free.get(node["NodeID"], {})
            free_cpus += left.get("CPU", 0.0)
            if whole := int(left.get("GPU", 0.0)):
                free_gpus[node["Labels"].get(ACCELERATOR, UNKNOWN)] += whole
        kinds = {kind: _least(alike) for kind, alike in gpus_of.items()}
        return cls(cpus, gpus, kinds, tuple(memory), free_cpus, free_gpus, max(1, with_cpus))

    def __str__(self) -> str:
        """As in "8 CPU cores, 2 x A100"."""
        gpus = ", ".join(f"{count} x {kind}" for kind, count in self.gpus.items())
        return f"{self.cpus:g} CPU cores, {gpus or 'no GPU'}"


def gpus_of_this_node() -> list[Gpu]:
    """All GPUs of this node according to `nvidia-smi`, which sees those that Ray hides; none where it does not work."""
    query = ["nvidia-smi", "--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = []
    for line in lines:
        memory, _, capability = line.partition(",")
        major, _, minor = capability.strip().partition(".")
        known = major.isdigit() and minor.isdigit()
        megabytes = memory.strip()
        gpus.append(
            Gpu(int(megabytes) * 2**20 if megabytes.isdigit() else None, (int(major), int(minor)) if known else None)
        )
    return gpus


def _labelled(memory: str) -> Gpu:
    try:
        return Gpu(round(float(memory) * 2**30))
    except ValueError:
        raise QpertError(f"the node label {GPU_MEMORY}={memory} is not a number of GiB, such as 80") from None


def _ask(of_node: Mapping[str, tuple[str, int]]) -> Iterable[tuple[str, Gpu]]:
    """Yields (type, GPU) for each GPU of the nodes (node id -> GPU type, number of GPUs that Ray has there).

    Leaves out nodes that do not answer in time, and nodes with further cards, since it is unknown which ones Ray uses.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not of_node:
        return
    ask = ray.remote(num_cpus=0, max_retries=0)(gpus_of_this_node)
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(): known
        for node, known in of_node.items()
    }
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
    for reference in late:
        ray.cancel(reference)
    for reference in answered:
        kind, count = asked[reference]
        try:
            gpus: list[Gpu] = ray.get(reference)
        except ray.exceptions.RayError:  # the node has just died
            continue
        if len(gpus) == count:
            yield from ((kind, gpu) for gpu in gpus)


def _least(gpus: Iterable[Gpu]) -> Gpu:
    """The lower bounds over `gpus`."""
    known = list(gpus)
    memory = [gpu.memory for gpu in known if gpu.memory is not None]
    capabilities = [gpu.capability for gpu in known if gpu.capability is not None]
    return Gpu(min(memory, default=None), min(capabilities, default=None))

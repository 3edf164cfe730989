"""What there is to compute on: CPU cores and memory, and GPUs by type with what each of them holds."""

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
"""The type of GPUs on nodes that have no such label."""
GPU_MEMORY = "gpu-memory-gib"
"""A label of ours: the memory of each of a node's GPUs in GiB, for where `nvidia-smi` cannot be asked."""
SMALL = 0.25
"""Of a CPU: what a task reserves that reads, writes or measures; alike, so that a stream of the one does not keep the
other from ever starting."""
_PATIENCE = 60.0
"""Seconds to wait for the nodes to say what GPUs they have."""


@dataclass(frozen=True)
class Gpu:
    """What all GPUs of one type have at least.

    Attributes:
        memory: bytes, None if unknown.
        capability: CUDA compute capability, None if unknown.
    """

    memory: int | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machines:
    """What there is to compute on.

    Attributes:
        cpus: cores.
        gpus: how many, by type as Ray labels them ("A100", "GeForce-GTX-1080-Ti").
        kinds: what GPUs of each type are like.
        memory: bytes of main memory that each node has for actors; empty if unknown.
        free_cpus: cores that no other job has reserved; None if unknown.
        free_gpus: whole GPUs likewise, by type.
        nodes: that have CPU cores.
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
        """This machine, without Ray; `cpus` of its cores."""
        import torch

        gpus, found = Counter[str](), defaultdict[str, list[Gpu]](list)
        for index in range(torch.cuda.device_count()):
            of = torch.cuda.get_device_properties(index)
            gpus[of.name] += 1
            found[of.name].append(Gpu(of.total_memory, (of.major, of.minor)))
        kinds = {kind: _least(each) for kind, each in found.items()}
        return cls(float(cpus or os.cpu_count() or 1), gpus, kinds, (psutil.virtual_memory().total,))

    @classmethod
    def cluster(cls, ask: bool = True) -> Machines:
        """The nodes of the Ray cluster that are alive now.

        Args:
            ask: each node with GPUs what they are like, which takes a task there.
        """
        cpus, with_cpus, gpus, memory = 0.0, 0, Counter[str](), list[int]()
        of_node: dict[str, tuple[str, int]] = {}
        found: dict[str, list[Gpu]] = defaultdict(list)
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
                    found[kind].append(_labelled(label))
                elif ask:
                    of_node[node["NodeID"]] = kind, count
        for kind, gpu in _ask(of_node):
            found[kind].append(gpu)
        free = free_resources()
        free_gpus, free_cpus = Counter[str](), 0.0
        for node in alive:
            left = free.get(node["NodeID"], {})
            free_cpus += left.get("CPU", 0.0)
            if whole := int(left.get("GPU", 0.0)):
                free_gpus[node["Labels"].get(ACCELERATOR, UNKNOWN)] += whole
        kinds = {kind: _least(each) for kind, each in found.items()}
        return cls(cpus, gpus, kinds, tuple(memory), free_cpus, free_gpus, max(1, with_cpus))

    def __str__(self) -> str:
        """For people: "8 CPU cores, 2 x A100"."""
        gpus = ", ".join(f"{count} x {kind}" for kind, count in self.gpus.items())
        return f"{self.cpus:g} CPU cores, {gpus or 'no GPU'}"


def gpus_of_this_node() -> list[Gpu]:
    """What `nvidia-smi` says, which also sees GPUs that Ray hides from a task; nothing where there is none."""
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
        raise QpertError(f"the node label {GPU_MEMORY}={memory} is no number of GiB, such as 80") from None


def _ask(of_node: Mapping[str, tuple[str, int]]) -> Iterable[tuple[str, Gpu]]:
    """The GPUs of these nodes (type, and how many Ray has) with their type.

    Nothing of a node that does not answer in time, or that has other cards as well: which are Ray's is not known.
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
        except ray.exceptions.RayError:  # the node has just gone
            continue
        if len(gpus) == count:
            yield from ((kind, gpu) for gpu in gpus)


def _least(gpus: Iterable[Gpu]) -> Gpu:
    """What all of them have."""
    every = list(gpus)
    memory = [gpu.memory for gpu in every if gpu.memory is not None]
    capabilities = [gpu.capability for gpu in every if gpu.capability is not None]
    return Gpu(min(memory, default=None), min(capabilities, default=None))

"""How many actors each stage gets, on which GPUs, and how the CPU cores are shared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import QpertError

ACCELERATOR = "ray.io/accelerator-type"


@dataclass(frozen=True)
class Machines:
    """What there is to compute on: CPU cores, and GPUs by type as Ray labels them ("A100", "GeForce-GTX-1080-Ti")."""

    cpus: float
    gpus: Counter[str] = field(default_factory=Counter)

    @classmethod
    def here(cls, cpus: int | None = None) -> Machines:
        """This machine, without Ray; `cpus` of its cores."""
        import torch

        names = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return cls(float(cpus or os.cpu_count() or 1), Counter(names))

    @classmethod
    def cluster(cls) -> Machines:
        """The nodes of the Ray cluster that are alive now."""
        import ray

        cpus, gpus = 0.0, Counter[str]()
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if node["Alive"]:
                cpus += node["Resources"].get("CPU", 0)
                if count := int(node["Resources"].get("GPU", 0)):
                    gpus[node["Labels"].get(ACCELERATOR, "unknown")] += count
        return cls(cpus, gpus)

    def __str__(self) -> str:
        """For people: "8 CPU cores, 2 x A100"."""
        gpus = ", ".join(f"{count} x {kind}" for kind, count in self.gpus.items())
        return f"{self.cpus:g} CPU cores, {gpus or 'no GPU'}"


@dataclass(frozen=True)
class Pool:
    """The actors of one stage.

    Attributes:
        size: how many.
        num_gpus: share of a GPU that each reserves, None on CPUs.
        num_cpus: CPU cores that each reserves from Ray, as a share.
        threads: CPU threads that each computes with, None for torch's own choice.
        decoders: threads that each decodes photos with beside the model.
        labels: label selector of the GPU types.
    """

    size: int
    num_gpus: float | None
    num_cpus: float
    threads: int | None
    decoders: int
    labels: dict[str, str] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `map_batches`."""
        chosen: dict[str, Any] = {"num_cpus": self.num_cpus}
        if self.num_gpus:
            chosen |= {"num_gpus": self.num_gpus}
        if self.labels:
            chosen |= {"label_selector": self.labels}
        return chosen

    def __str__(self) -> str:
        """For people: "2 actors, each half a GPU of A100, V100"."""
        where = f"{self.num_gpus:g} GPU" if self.num_gpus else f"CPU, {self.threads or 'default'} threads"
        kinds = f" of {self.labels[ACCELERATOR]}" if self.labels else ""
        return f"{self.size} {'actor' if self.size == 1 else 'actors'}, each {where}{kinds}"


def plan_pools(
    machines: Machines,
    stages: Sequence[str],
    *,
    accelerators: Sequence[str] | None = None,
    sizes: dict[str, int | None] | None = None,
    num_gpus: dict[str, float | None] | None = None,
    cpu_only: Sequence[str] = (),
    blocks: int | None = None,
) -> dict[str, Pool]:
    """A fixed-size pool for each of `stages`.

    With GPUs every GPU carries one actor of each stage, in equal shares: a GPU that is waiting for photos of one stage
    works on the other. Without, the cores are split between the actors. What they reserve of Ray's CPUs leaves enough
    for reading and writing.

    Args:
        machines: what there is.
        stages: names of the stages that compute.
        accelerators: GPU types to use, as Ray labels them; None for all, ("none",) for CPUs only.
        sizes: stage -> number of actors, where it is not to be worked out.
        num_gpus: stage -> share of a GPU per actor, likewise.
        cpu_only: stages that have no use for a GPU.
        blocks: of work that there are, at most; more actors would only load models.

    Raises:
        QpertError: a GPU type was named, and there is none of it.
    """
    sizes, num_gpus = sizes or {}, num_gpus or {}
    labels, count = _gpus(machines, accelerators)
    on_gpu = [stage for stage in stages if count and stage not in cpu_only]
    pools: dict[str, Pool] = {}
    for stage in stages:
        if stage in on_gpu:
            share = num_gpus.get(stage) or 1 / len(on_gpu)
            size = sizes.get(stage) or min(max(1, int(count / (share * len(on_gpu)))), blocks or count)
            decoders = max(1, min(8, int(machines.cpus / (size * len(on_gpu)))))
            cpus = _share(machines, size * len(on_gpu))
            pools[stage] = Pool(size, share, num_cpus=cpus, threads=None, decoders=decoders, labels=labels)
        else:
            others = len(stages) - len(on_gpu)
            size = sizes.get(stage) or min(cpu_actors(machines.cpus), blocks or 10**6)
            threads = max(1, int(machines.cpus / size))
            pools[stage] = Pool(size, None, num_cpus=_share(machines, size * others), threads=threads, decoders=0)
    return pools


def cpu_actors(cpus: float) -> int:
    """Actors per stage without GPUs: one per core up to four, then of up to four threads each.

    Several actors of one thread use small machines better than one actor of several threads; on larger ones the
    memory for the models matters more.
    """
    return max(1, int(cpus)) if cpus <= 4 else max(4, int(cpus) // 4)


def _gpus(machines: Machines, accelerators: Sequence[str] | None) -> tuple[dict[str, str] | None, int]:
    if accelerators is None:
        return None, sum(machines.gpus.values())
    if list(accelerators) in ([], ["none"]):
        return None, 0
    missing = [kind for kind in accelerators if not machines.gpus.get(kind)]
    if missing:
        there = ", ".join(f"{count} x {kind}" for kind, count in machines.gpus.items()) or "no GPU"
        raise QpertError(f"no GPU of type {', '.join(missing)} (--accelerators); there is {there}")
    # A selector of several values needs the in() form.
    value = accelerators[0] if len(accelerators) == 1 else f"in({','.join(accelerators)})"
    return {ACCELERATOR: value}, sum(machines.gpus[kind] for kind in accelerators)


def _share(machines: Machines, actors: int) -> float:
    """What each of `actors` reserves: half of the CPUs together, or what two left free allow, perhaps nothing.

    Two is what Ray Data needs at once to start: one to list files, one to filter out what is done. An actor that
    reserved them would wait for ever. Even hundredths differ from IO_CPUS, which keeps Ray from merging reading into
    the actors on some machines and not on others.
    """
    together = max(0.0, min(machines.cpus / 2, machines.cpus - 2))
    return min(1.0, int(together / actors * 50) / 50)

"""How many actors each stage gets, on which GPUs, and how the CPU cores are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cluster.machines import UNKNOWN, Gpu, Machines
from pipeline.cluster.ray_compat import ACCELERATOR
from pipeline.errors import QpertError
from pipeline.workers.device import Dtype, dtype_for

Need = Callable[[str], int]
"""From a dtype to the bytes that a model takes in it."""
_LARGE = 2 * 2**30
"""From so many bytes on it matters how many copies of a model a node's memory holds."""


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
        memory: bytes of main memory that each reserves from Ray, where its model is large.
    """

    size: int
    num_gpus: float | None
    num_cpus: float
    threads: int | None
    decoders: int
    labels: dict[str, str] | None = None
    memory: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `map_batches`."""
        chosen: dict[str, Any] = {"num_cpus": self.num_cpus}
        if self.num_gpus:
            chosen |= {"num_gpus": self.num_gpus}
        if self.labels:
            chosen |= {"label_selector": self.labels}
        if self.memory:
            chosen |= {"memory": self.memory}
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
    needs: Mapping[str, Need] | None = None,
    dtype: Dtype = "auto",
) -> dict[str, Pool]:
    """A fixed-size pool for each of `stages`.

    With GPUs every GPU carries one actor of each stage, in equal shares: a GPU that is waiting for photos of one stage
    works on the other. Where some GPUs are too small for one stage's model, that stage gets the others for itself, and
    the rest of the stages these. Without GPUs, the cores are split between the actors. What they reserve of Ray's CPUs
    leaves enough for reading and writing.

    Args:
        machines: what there is.
        stages: names of the stages that compute.
        accelerators: GPU types to use, as Ray labels them; None for all, ("none",) for CPUs only.
        sizes: stage -> number of actors, where it is not to be worked out.
        num_gpus: stage -> share of a GPU per actor, likewise.
        cpu_only: stages that have no use for a GPU.
        blocks: of work that there are, at most; more actors would only load models.
        needs: stage -> bytes that its model takes in a dtype, where that matters.
        dtype: what was asked for.

    Raises:
        QpertError: a GPU type was named, and there is none of it; or a model fits nowhere.
    """
    sizes, num_gpus, needs = sizes or {}, num_gpus or {}, needs or {}
    named = _named(machines, accelerators)
    places = {stage: () if stage in cpu_only else _roomy(stage, machines, named, needs, dtype) for stage in stages}
    small = next((kinds for kinds in places.values() if kinds and len(kinds) < len(named)), None)
    if small is not None:  # apart, as an actor that waits for a GPU which other stages have taken waits for ever
        rest = tuple(kind for kind in named if kind not in small)
        places = {stage: rest if kinds == named else kinds for stage, kinds in places.items()}
    pools: dict[str, Pool] = {}
    for stage, kinds in places.items():
        sharing = sum(each == kinds for each in places.values())
        if kinds:
            count = _free(machines, kinds)
            share = num_gpus.get(stage) or 1 / sharing
            size = sizes.get(stage) or min(max(1, int(count / (share * sharing))), blocks or count)
            decoders = max(1, min(8, int(machines.cpus / (size * sharing))))
            labels = _selector(machines, kinds, accelerators)
            pools[stage] = Pool(size, share, num_cpus=0, threads=None, decoders=decoders, labels=labels)
        else:
            most, memory = _in_memory(stage, machines, needs, dtype)
            size = sizes.get(stage) or min(cpu_actors(machines.cpus), blocks or 10**6, most)
            threads = max(1, int(machines.cpus / size))
            pools[stage] = Pool(size, None, num_cpus=0, threads=threads, decoders=0, memory=memory)
    cpus = _share(machines, sum(pool.size for pool in pools.values()))
    return {stage: replace(pool, num_cpus=cpus) for stage, pool in pools.items()}


def cpu_actors(cpus: float) -> int:
    """Actors per stage without GPUs: one per core up to four, then of up to four threads each.

    Several actors of one thread use small machines better than one actor of several threads; on larger ones the
    memory for the models matters more.
    """
    return max(1, int(cpus)) if cpus <= 4 else max(4, int(cpus) // 4)


def _named(machines: Machines, accelerators: Sequence[str] | None) -> tuple[str, ...]:
    """The GPU types to use."""
    if accelerators is None:
        return tuple(machines.gpus)
    if list(accelerators) in ([], ["none"]):
        return ()
    missing = [kind for kind in accelerators if not machines.gpus.get(kind)]
    if missing:
        there = ", ".join(f"{count} x {kind}" for kind, count in machines.gpus.items()) or "no GPU"
        raise QpertError(f"no GPU of type {', '.join(missing)} (--accelerators); there is {there}")
    return tuple(accelerators)


def _roomy(
    stage: str, machines: Machines, named: tuple[str, ...], needs: Mapping[str, Need], dtype: Dtype
) -> tuple[str, ...]:
    """Those of the GPU types that hold the stage's model. One of unknown size counts: its actor checks again."""
    if stage not in needs:
        return named
    lacking = {}
    for kind in named:
        gpu = machines.kinds.get(kind, Gpu())
        chosen = dtype_for(gpu.capability or (7, 0), dtype)
        if gpu.memory is not None and gpu.memory < needs[stage](chosen):
            lacking[kind] = (
                f"{kind} has {gigabytes(gpu.memory)}, and it needs {gigabytes(needs[stage](chosen))} in {chosen}"
            )
    if named and len(lacking) == len(named):
        raise QpertError(
            f"no GPU holds the model of the stage {stage}: {'; '.join(lacking.values())}. On CPUs: --accelerators none"
        )
    return tuple(kind for kind in named if kind not in lacking)


def _selector(machines: Machines, kinds: tuple[str, ...], accelerators: Sequence[str] | None) -> dict[str, str] | None:
    if accelerators is None and len(kinds) == len(machines.gpus):
        return None
    if UNKNOWN in kinds and len(kinds) == len(machines.gpus):
        return None
    if UNKNOWN in kinds:  # has no label to select by
        return {ACCELERATOR: f"!in({','.join(kind for kind in machines.gpus if kind not in kinds)})"}
    # A selector of several values needs the in() form.
    return {ACCELERATOR: kinds[0] if len(kinds) == 1 else f"in({','.join(kinds)})"}


def _in_memory(stage: str, machines: Machines, needs: Mapping[str, Need], dtype: Dtype) -> tuple[int, int | None]:
    """How many actors of the stage the nodes' memory holds, and what Ray shall reserve for each (large models only)."""
    chosen = dtype_for(None, dtype)
    need = needs[stage](chosen) if stage in needs else 0
    if need < _LARGE:
        return 10**6, None
    most = sum(memory // need for memory in machines.memory) if machines.memory else 10**6
    if not most:
        advice = "--dtype bfloat16 takes half, a GPU serves it best" if chosen == "float32" else "it needs a GPU"
        raise QpertError(
            f"the model of the stage {stage} takes {gigabytes(need)} of memory in {chosen}, and the largest machine has"
            f" {gigabytes(max(machines.memory))} for it: {advice}"
        )
    return most, need


def gigabytes(count: int) -> str:
    """For people: "27.7 GB"."""
    return f"{count / 1e9:.1f} GB"


def _free(machines: Machines, kinds: tuple[str, ...]) -> int:
    """GPUs of these types that no other job holds, as far as that is known; one at least, which is waited for."""
    there = machines.gpus if machines.free_gpus is None else machines.free_gpus
    return max(1, sum(there[kind] for kind in kinds))


def _share(machines: Machines, actors: int) -> float:
    """What each of `actors` reserves: half of the CPUs together, or what two left free allow, perhaps nothing.

    Two is what Ray Data needs at once, each whole on one node: to list files, and to filter out what is done. An actor
    that reserved them would wait for ever; shares of the actors break one core more on each further node. What other
    jobs have reserved is theirs: of what is left, half is left again, so that jobs on one cluster, and their readers,
    never take all. Even hundredths differ from IO_CPUS, which keeps Ray from merging reading into the actors on some
    machines and not on others.
    """
    cpus = machines.cpus if machines.free_cpus is None else machines.free_cpus
    together = max(0.0, min(cpus / 2, cpus - 1 - machines.nodes))
    return min(1.0, int(together / actors * 50) / 50)

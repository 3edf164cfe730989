"""Plans the actor pools: how many actors each stage gets, on which GPUs, and with which share of the CPU cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cluster.machines import UNKNOWN, Gpu, Machines
from pipeline.cluster.ray_compat import ACCELERATOR
from pipeline.errors import QpertError
from pipeline.workers.device import Dtype, dtype_for

Need = Callable[[str], int]
"""Memory of a model in bytes, by dtype."""
_LARGE = 2 * 2**30
"""Bytes above which a model's copies may not all fit into the memory of a node."""


@dataclass(frozen=True)
class Pool:
    """The actors of one stage.

    Attributes:
        size: number of actors.
        num_gpus: share of a GPU that each actor reserves, None on CPUs.
        num_cpus: CPU cores, or a share of one, that each actor reserves.
        threads: CPU threads in which each actor computes, None for torch's own choice.
        decoders: threads in which each actor decodes photos while the model runs.
        labels: label selector of the GPU types, None for any.
        memory: main memory that each actor reserves, in bytes; None for small models.
        shared: whether these actors do all stages of the run, one after the other.
    """

    size: int
    num_gpus: float | None
    num_cpus: float
    threads: int | None
    decoders: int
    labels: dict[str, str] | None = None
    memory: int | None = None
    shared: bool = False

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
        """As in "2 actors, each 0.5 GPU of A100"."""
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
    share_actors: bool = False,
) -> dict[str, Pool]:
    """Plans a fixed-size pool for each of `stages`.

    Every GPU carries one actor of each stage, in equal shares, so a GPU that waits for photos of one stage works on
    another. If some GPU types are too small for the model of a stage, this stage gets the larger types for itself, and
    the other stages get the small ones. Without GPUs, the actors share the cores. The CPUs that they reserve from Ray
    leave enough for reading and writing. With `share_actors`, stages that would all run on CPUs share their actors.

    Args:
        machines: the hardware to plan for.
        stages: names of the stages that compute.
        accelerators: GPU types to use, as Ray labels them; None for all, ("none",) for CPUs only.
        sizes: stage -> number of actors; None where it is to be computed.
        num_gpus: stage -> share of a GPU per actor; None where it is to be computed.
        cpu_only: stages that make no use of a GPU.
        blocks: upper bound on the blocks of work; further actors would load models for nothing.
        needs: stage -> memory of its model, for stages where it matters.
        dtype: the dtype that was asked for.
        share_actors: the stages can run in one process.

    Raises:
        QpertError: the cluster has no GPU of a named type, or no machine holds a model.
    """
    sizes, num_gpus, needs = sizes or {}, num_gpus or {}, needs or {}
    named = _named(machines, accelerators)
    places = {stage: () if stage in cpu_only else _roomy(stage, machines, named, needs, dtype) for stage in stages}
    small = next((kinds for kinds in places.values() if kinds and len(kinds) < len(named)), None)
    if small is not None:  # on separate GPUs, or an actor might wait forever for one that other stages have taken
        rest = tuple(kind for kind in named if kind not in small)
        places = {stage: rest if kinds == named else kinds for stage, kinds in places.items()}
    alike = len({sizes.get(stage) for stage in stages}) == 1  # otherwise they were chosen for each stage
    if share_actors and alike and len(stages) > 1 and not any(places.values()):
        size = sizes.get(stages[0])
        usual = min(int(machines.cpus), 2 * cpu_actors(machines.cpus))
        pool = _on_cpus(stages, machines, needs, dtype, size, blocks, usual)
        return dict.fromkeys(stages, replace(pool, num_cpus=_share(machines, pool.size), shared=True))
    pools: dict[str, Pool] = {}
    for stage, kinds in places.items():
        sharing = sum(other == kinds for other in places.values())
        if kinds:
            count = _free(machines, kinds)
            share = num_gpus.get(stage) or 1 / sharing
            size = sizes.get(stage) or min(max(1, int(count / (share * sharing))), blocks or count)
            decoders = max(1, min(8, int(machines.cpus / (size * sharing))))
            labels = _selector(machines, kinds, accelerators)
            pools[stage] = Pool(size, share, num_cpus=0, threads=None, decoders=decoders, labels=labels)
        else:
            usual = cpu_actors(machines.cpus)
            pools[stage] = _on_cpus([stage], machines, needs, dtype, sizes.get(stage), blocks, usual)
    cpus = _share(machines, sum(pool.size for pool in pools.values()))
    return {stage: replace(pool, num_cpus=cpus) for stage, pool in pools.items()}


def _on_cpus(
    stages: Sequence[str],
    machines: Machines,
    needs: Mapping[str, Need],
    dtype: Dtype,
    size: int | None,
    blocks: int | None,
    usual: int,
) -> Pool:
    """A pool that does `stages` on CPUs: of `size`, or else of `usual` actors where memory and blocks allow."""
    memories = [_in_memory(stage, machines, needs, dtype) for stage in stages]
    size = size or max(1, min(usual, blocks or usual, *(most for most, _ in memories)))
    memory = sum(reserved or 0 for _, reserved in memories) or None
    return Pool(size, None, num_cpus=0, threads=max(1, int(machines.cpus / size)), decoders=0, memory=memory)


def cpu_actors(cpus: float) -> int:
    """Number of actors per stage without GPUs: one per core up to four, then one for every four cores, at least four.

    Several single-threaded actors use a small machine better than one actor with several threads; on larger machines
    the memory for the models matters more.
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
        existing = ", ".join(f"{count} x {kind}" for kind, count in machines.gpus.items()) or "no GPU"
        raise QpertError(f"no GPU of type {', '.join(missing)} (--accelerators); there is {existing}")
    return tuple(accelerators)


def _roomy(
    stage: str, machines: Machines, named: tuple[str, ...], needs: Mapping[str, Need], dtype: Dtype
) -> tuple[str, ...]:
    """The GPU types that hold the stage's model, those of unknown memory included: the actor checks again."""
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
    if UNKNOWN in kinds:  # these nodes have no label to select by
        return {ACCELERATOR: f"!in({','.join(kind for kind in machines.gpus if kind not in kinds)})"}
    # A selector of several values needs the in() form.
    return {ACCELERATOR: kinds[0] if len(kinds) == 1 else f"in({','.join(kinds)})"}


def _in_memory(stage: str, machines: Machines, needs: Mapping[str, Need], dtype: Dtype) -> tuple[int, int | None]:
    """The most actors that the nodes' memory holds, and the bytes to reserve for each (None for small models)."""
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
    """Formats a number of bytes, as in "27.7 GB"."""
    return f"{count / 1e9:.1f} GB"


def _free(machines: Machines, kinds: tuple[str, ...]) -> int:
    """Number of GPUs of these types that no other job holds, if known; at least one, for which the run waits."""
    free = machines.gpus if machines.free_gpus is None else machines.free_gpus
    return max(1, sum(free[kind] for kind in kinds))


def _share(machines: Machines, actors: int) -> float:
    """CPU share that each actor reserves; all together take half of the CPUs or leave two whole ones free, down to 0.

    Ray Data needs two whole CPUs at once, to list files and to filter out finished rows; if the actors reserved them,
    it would wait forever. On each further node the shares may break up one more core. Only CPUs that no other job has
    reserved are counted, and half of them are left, so that several jobs on one cluster, with their readers, never take
    all. A multiple of 0.02 never equals `SMALL`: Ray fuses operators of equal resources, and would merge reading into
    the actors on some machines only.
    """
    cpus = machines.cpus if machines.free_cpus is None else machines.free_cpus
    together = max(0.0, min(cpus / 2, cpus - 1 - machines.nodes))
    return min(1.0, int(together / actors * 50) / 50)

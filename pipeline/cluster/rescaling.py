"""Decides whether to restart a run when machines join the cluster.

The actor pools of an attempt are fixed, so machines that join are used by a new attempt, which is planned for all
machines. Restarting costs time: actors load their models again, and photos whose file is not yet written are done
again. So the time left on the present machines is compared with that on the new ones, this cost included.

Both the speed of the run and the machines that joined are watched for as long as a restart takes before they are
believed. A wrong decision then costs about as much as the wait did, however long restarts take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool
from pipeline.errors import QpertError

BETWEEN = 15.0
"""Seconds of a restart besides the start of its actors: ending one Ray session and opening the next."""
UNSEEN = 0.25
"""Assumed speed of GPUs of a type that has not worked yet, relative to the slowest type that has."""


@dataclass(frozen=True)
class Pace:
    """How an attempt is doing.

    Attributes:
        photos: photos done so far.
        rate: photos per second since all actors are at work.
        measured: seconds over which `rate` was measured.
        startup: seconds from the start of the attempt until all actors were at work.
        work: (stage, device) -> photos done there, and seconds of work on them.
    """

    photos: int
    rate: float
    measured: float
    startup: float
    work: Mapping[tuple[str, str], tuple[int, float]]


@dataclass(frozen=True)
class Restart:
    """A restart that pays.

    Attributes:
        machines: the machines of the cluster now.
        saves: seconds that the run ends sooner.
    """

    machines: Machines
    saves: float


class Rescaling:
    """Decides, during one attempt, whether to restart it on more machines.

    Args:
        machines: the machines that the attempt was planned for.
        pools: its actor pools, by stage.
        plan: plans the pools for other machines.
        unwritten: upper bound on the photos whose file is not yet written; a restart does them again.
        todo: photos that the attempt has to do; None if unknown, then it is never restarted.
    """

    def __init__(
        self,
        machines: Machines,
        pools: Mapping[str, Pool],
        plan: Callable[[Machines], Mapping[str, Pool]],
        unwritten: int,
        todo: int | None,
    ) -> None:
        self.machines, self.pools, self.plan, self.unwritten, self.todo = machines, pools, plan, unwritten, todo
        self.polled, self.last = time.monotonic(), machines

    def poll(self, pace: Pace) -> Restart | None:
        """The restart to make now, or None. Cheap to call: asks the cluster at most once per `cost`."""
        cost = self.cost(pace)
        if self.todo is None or min(pace.measured, time.monotonic() - self.polled) < cost:
            return None
        self.polled = time.monotonic()
        try:
            now = Machines.cluster(ask=False)
            before, self.last = self.last, now
            if (now.gpus, now.cpus) != (before.gpus, before.cpus) or not grown(self.machines, now):
                return None
            if self._saves(pace, now) <= 0:
                return None
            now = Machines.cluster()  # asks the new nodes for the memory of their GPUs, which may change the plan
            saves = self._saves(pace, now)
        except (QpertError, ray.exceptions.RayError):  # no plan for these machines, or the cluster does not answer
            return None
        return Restart(now, saves) if saves > 0 else None

    def cost(self, pace: Pace) -> float:
        """Seconds in which a restart does nothing: it takes as long to start as the present attempt did."""
        return pace.startup + BETWEEN

    def _saves(self, pace: Pace, now: Machines) -> float:
        """Seconds that a restart on the machines `now` would save; negative where it would cost more."""
        now = usable(self.machines, now)
        left = max(0, (self.todo or 0) - pace.photos)
        redone = min(self.unwritten, pace.photos)
        rate = pace.rate * speed_up(pace, (self.machines, self.pools), (now, self.plan(now)))
        return left / pace.rate - (self.cost(pace) + (redone + left) / rate)


def grown(before: Machines, now: Machines) -> bool:
    """Whether there are more CPUs, or more GPUs of some type."""
    return now.cpus > before.cpus or bool(now.gpus - before.gpus)


def usable(before: Machines, now: Machines) -> Machines:
    """`now`, with the GPUs counted as free that the run holds or can get.

    The run holds all GPUs that were free `before`, and can get those that have joined and are free. What is known about
    the GPU types of `before` is kept.
    """
    free = before.gpus if before.free_gpus is None else before.free_gpus
    joined = (now.gpus - before.gpus) & (now.gpus if now.free_gpus is None else now.free_gpus)
    return replace(now, free_gpus=free + joined, free_cpus=None, kinds={**now.kinds, **before.kinds})


def speed_up(pace: Pace, old: tuple[Machines, Mapping[str, Pool]], new: tuple[Machines, Mapping[str, Pool]]) -> float:
    """Estimated speed-up of a restart, limited by its slowest stage; 1.0 if unknown.

    Only the share of the time in which the slowest stage works becomes shorter. Where that stage waits more than it
    works, something else is the limit (reading, writing, the driver), and more actors would not help.

    Args:
        pace: of the present attempt.
        old: its machines and pools.
        new: the machines and pools of the restart.
    """
    before, after = [], []
    for stages, pool in _groups(old[1]):
        work = _work(pace, stages)
        planned = new[1][stages[0]]
        if not work or (pool.num_gpus, pool.shared) != (planned.num_gpus, planned.shared) or planned.size < pool.size:
            return 1.0  # the stage moves to devices on which its speed is not known
        slowest = min(photos / seconds for photos, seconds in work)
        before.append(pool.size * sum(photos for photos, _ in work) / sum(seconds for _, seconds in work))
        if pool.num_gpus:
            joined = new[0].gpus - old[0].gpus
            unseen = any(not old[0].gpus[kind] for kind in joined)
            after.append(before[-1] + (planned.size - pool.size) * slowest * (UNSEEN if unseen else 1.0))
        else:
            after.append(before[-1] * _threads(planned, new[0]) / _threads(pool, old[0]))
    busy = min(1.0, pace.rate / min(before))
    if busy <= 0.5 or min(after) <= min(before):
        return 1.0
    return 1 / (1 - busy + busy * min(before) / min(after))


def _groups(pools: Mapping[str, Pool]) -> list[tuple[tuple[str, ...], Pool]]:
    """The stages of each set of actors, with its pool."""
    shared = tuple(stage for stage, pool in pools.items() if pool.shared)
    groups: list[tuple[tuple[str, ...], Pool]] = [((stage,), pool) for stage, pool in pools.items() if not pool.shared]
    return [*groups, (shared, pools[shared[0]])] if shared else groups


def _work(pace: Pace, stages: Sequence[str]) -> list[tuple[float, float]]:
    """Photos done and seconds of work on them, by device; of actors that do several stages, of all of these together.

    Empty while a stage has not done any.
    """
    by_device: dict[str, list[tuple[int, float]]] = {}
    for (stage, device), done in pace.work.items():
        if stage in stages and all(done):
            by_device.setdefault(device, []).append(done)
    complete = [done for done in by_device.values() if len(done) == len(stages)]
    return [
        (1.0, sum(seconds / photos for photos, seconds in done)) if len(stages) > 1 else done[0] for done in complete
    ]


def _threads(pool: Pool, machines: Machines) -> float:
    """CPU threads of all actors together; no actor has more threads than its machine has cores."""
    return min(machines.cpus, pool.size * min(pool.threads or 1, machines.cpus / machines.nodes))

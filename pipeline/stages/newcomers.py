"""Machines that join while a run is on, and whether to begin anew with them.

The pools of an attempt are fixed: Ray Data could grow them, but onto GPUs of any type, and of stages that share GPUs
the first one to ask would take all that come. So what joins is used by a new attempt, planned for all there is then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import ray

from pipeline.errors import QpertError
from pipeline.stages.machines import Machines
from pipeline.stages.pools import Pool
from pipeline.stages.progress import duration
from pipeline.stages.tally import Counts

LOOK = 30.0
"""Seconds between two looks at the cluster. What has joined counts when it is there at two in a row, and all of it."""
WORTH = 2.0
"""Times its cost that a new attempt must save."""


class Newcomers:
    """Looks now and then, during one attempt, what has joined.

    Args:
        machines: that the attempt was planned for.
        pools: what was planned.
        plan: plans for other machines.
        waiting: photos that wait for their file at most, which a new attempt does again.
        todo: photos that the attempt has before it; None when unknown, and then nothing that joins is used.
    """

    def __init__(
        self,
        machines: Machines,
        pools: Mapping[str, Pool],
        plan: Callable[[Machines], Mapping[str, Pool]],
        waiting: int,
        todo: int | None,
    ) -> None:
        self.machines, self.pools, self.plan, self.waiting, self.todo = machines, pools, plan, waiting, todo
        self.started, self.looked, self.last = time.time(), time.monotonic(), machines

    def worth(self, counts: Counts) -> str | None:
        """Why to begin anew, for people, or None. Called as often as one likes; it looks every `LOOK` seconds."""
        if self.todo is None or counts.warm is None or time.monotonic() - self.looked < LOOK:
            return None
        self.looked = time.monotonic()
        try:
            now = Machines.cluster(ask=False)
            before, self.last = self.last, now
            if not grown(self.machines, now) or (now.gpus, now.cpus) != (before.gpus, before.cpus):
                return None
            factor = speed_up(counts, self.pools, self.plan(ours(self.machines, now)))
        except (QpertError, ray.exceptions.RayError):
            return None  # the attempt goes on as it is
        saved = self.saved(counts, factor)
        if saved is None:
            return None
        return f"now there are {now}, not {self.machines}: beginning anew from what is done, {duration(saved)} sooner"

    def saved(self, counts: Counts, factor: float) -> float | None:
        """Seconds that a new attempt, so many times as fast, would save; None where that is not `WORTH` it."""
        rate = counts.recent_rate(120)
        if self.todo is None or counts.warm is None or not rate:
            return None
        left = max(0, self.todo - counts.photos) / rate
        again = min(self.waiting, counts.photos) / rate
        cost = counts.warm[0] - self.started + again / factor
        gain = left - left / factor
        return gain - cost if gain > WORTH * cost else None


def grown(before: Machines, now: Machines) -> bool:
    """Whether there are more CPUs or more GPUs of some type."""
    return now.cpus > before.cpus or any(number > before.gpus[kind] for kind, number in now.gpus.items())


def ours(before: Machines, now: Machines) -> Machines:
    """`now` with those GPUs free that a run which took all that were free `before` has or can have.

    Of GPUs of types that were there before it is known what they are like; the others count until they are asked.
    """
    free = before.gpus if before.free_gpus is None else before.free_gpus
    joined = (now.gpus - before.gpus) & (now.gpus if now.free_gpus is None else now.free_gpus)
    return replace(now, free_gpus=free + joined, free_cpus=None, kinds={**now.kinds, **before.kinds})


def speed_up(counts: Counts, old: Mapping[str, Pool], new: Mapping[str, Pool]) -> float:
    """How many times as fast the slowest stage of `old` would be in `new`; infinite where it comes to a GPU."""
    if not counts.seconds:
        return 1.0
    stage = max(counts.seconds, key=lambda stage: counts.seconds[stage] / old[stage].size)
    if bool(old[stage].num_gpus) != bool(new[stage].num_gpus):
        return math.inf if new[stage].num_gpus else 1.0
    return _capacity(new[stage]) / _capacity(old[stage])


def _capacity(pool: Pool) -> float:
    return pool.size * (pool.num_gpus or pool.threads or 1)

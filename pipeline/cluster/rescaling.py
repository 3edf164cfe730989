"""Machines that join while a run is on, and whether to begin anew with them.

The pools of an attempt are fixed: Ray Data could grow them, but onto GPUs of any type, and of stages that share GPUs
the first one to ask would take all that come. So what joins is used by a new attempt, planned for all there is then.
When in doubt an attempt goes on as it is: what it does is sure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool
from pipeline.errors import QpertError
from pipeline.printing import duration
from pipeline.runs.run_stats import RunStats

LOOK = 30.0
"""Seconds between two looks at the cluster. What has joined counts when it is there at two in a row, and all of it."""
STEADY = 60.0
"""Seconds that all actors have been at work before anything is made of how fast they are."""
WORTH = 2.0
"""Times its cost that a new attempt must save."""
BETWEEN = 15.0
"""Seconds from the end of one attempt to the beginning of the next."""
BUSY = 0.7
"""Share of its time that the slowest stage works where more of it helps; else reading, writing or the driver limit."""
UNSEEN = 0.25
"""Speed of a GPU of a type that has done nothing yet, to the slowest of those that have."""


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

    def worth(self, counts: RunStats) -> str | None:
        """Why to begin anew, for people, or None. Called as often as one likes; it looks every `LOOK` seconds."""
        if self.todo is None or counts.warm is None or time.monotonic() - self.looked < LOOK:
            return None
        self.looked = time.monotonic()
        try:
            now = Machines.cluster(ask=False)
            before, self.last = self.last, now
            if not grown(self.machines, now) or (now.gpus, now.cpus) != (before.gpus, before.cpus):
                return None
            saved = self._saved(counts, now)
            if saved is not None:  # all the same if those that joined are asked what they are like
                saved = self._saved(counts, now := Machines.cluster())
        except (QpertError, ray.exceptions.RayError):
            return None
        if saved is None:
            return None
        return f"now there are {now}, not {self.machines}: beginning anew from what is done, {duration(saved)} sooner"

    def _saved(self, counts: RunStats, now: Machines) -> float | None:
        """Seconds that a new attempt on the machines of `now` would save; None where that is not `WORTH` it."""
        rate = steady_rate(counts)
        if self.todo is None or counts.warm is None or not rate:
            return None
        now = ours(self.machines, now)
        factor = speed_up(counts, rate, (self.machines, self.pools), (now, self.plan(now)))
        left = max(0, self.todo - counts.photos) / rate
        again = min(self.waiting, counts.photos) / rate
        cost = counts.warm[0] - self.started + BETWEEN + again / factor
        gain = left - left / factor
        return gain - cost if gain > WORTH * cost else None


def grown(before: Machines, now: Machines) -> bool:
    """Whether there are more CPUs or more GPUs of some type."""
    return now.cpus > before.cpus or bool(now.gpus - before.gpus)


def ours(before: Machines, now: Machines) -> Machines:
    """`now` with those GPUs free that a run which took all that were free `before` has or can have.

    Of GPUs of types that were there before it is known what they are like; the others count until they are asked.
    """
    free = before.gpus if before.free_gpus is None else before.free_gpus
    joined = (now.gpus - before.gpus) & (now.gpus if now.free_gpus is None else now.free_gpus)
    return replace(now, free_gpus=free + joined, free_cpus=None, kinds={**now.kinds, **before.kinds})


def steady_rate(counts: RunStats) -> float | None:
    """Photos per second since all actors are at work; None before that can be told."""
    if counts.warm is None or not counts.history:
        return None
    since = counts.history[-1][0] - counts.warm[0]
    return counts.recent_rate(since) if since >= STEADY else None


def speed_up(
    counts: RunStats,
    rate: float,
    old: tuple[Machines, Mapping[str, Pool]],
    new: tuple[Machines, Mapping[str, Pool]],
) -> float:
    """How many times as fast a new attempt would be, by the stage that is slowest then; 1 where that is not clear.

    Args:
        counts: of the attempt so far, with the work of each stage on each device.
        rate: photos per second.
        old: the machines and the pools of the attempt.
        new: those of the new one.
    """
    before, after = [], []
    for stage, pool in old[1].items():
        work = [done for (of, _), done in counts.work.items() if of == stage and all(done)]
        then = new[1][stage]
        if not work or pool.num_gpus != then.num_gpus or then.size < pool.size:
            return 1.0  # stages that change places would have to be measured there
        slowest = min(photos / seconds for photos, seconds in work)
        before.append(pool.size * sum(photos for photos, _ in work) / sum(seconds for _, seconds in work))
        if pool.num_gpus:
            joined = new[0].gpus - old[0].gpus
            unseen = any(not old[0].gpus[kind] for kind in joined)
            after.append(before[-1] + (then.size - pool.size) * slowest * (UNSEEN if unseen else 1.0))
        else:
            after.append(before[-1] * _threads(then, new[0]) / _threads(pool, old[0]))
    return max(1.0, min(after) / min(before)) if rate >= BUSY * min(before) else 1.0


def _threads(pool: Pool, machines: Machines) -> float:
    """CPU threads of all actors together: none of them has more than a machine has cores."""
    return min(machines.cpus, pool.size * min(pool.threads or 1, machines.cpus / machines.nodes))

"""When machines that have joined are worth a new attempt."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import ray

from pipeline.errors import QpertError
from pipeline.stages import newcomers
from pipeline.stages.machines import Gpu, Machines
from pipeline.stages.newcomers import Newcomers, grown, ours, speed_up
from pipeline.stages.pools import Pool, plan_pools
from pipeline.stages.tally import Counts

BOTH = ["detect", "encode"]


def cluster(cpus: float = 8.0, free: int | None = None, **gpus: int) -> Machines:
    there = Counter(gpus)
    return Machines(cpus, there, free_gpus=there if free is None else Counter({next(iter(gpus)): free}))


def counts(photos: int, rate: float, *, warm: float = 30.0, ago: float = 100.0) -> Counts:
    """After so many photos, `ago` seconds after an attempt began whose actors were all up after `warm`."""
    begun = time.time() - ago
    found = Counts(photos=photos, seconds={"detect": 10.0, "encode": 90.0}, warm=(begun + warm, Counter()))
    found.history = [(begun + ago - 50 + second, round(photos - rate * (50 - second))) for second in range(0, 51, 5)]
    return found


def plan(machines: Machines) -> dict[str, Pool]:
    return plan_pools(machines, BOTH)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Newcomers]:
    """One of an attempt that began 100 seconds ago, which finds these machines when it looks."""

    def make(before: Machines, *now: Machines, todo: int | None = 10_000, waiting: int = 0) -> Newcomers:
        monkeypatch.setattr(newcomers, "LOOK", 0.0)
        looks = list(now)
        monkeypatch.setattr(Machines, "cluster", lambda ask: looks.pop(0) if len(looks) > 1 else looks[0])
        found = Newcomers(before, plan(before), plan, waiting, todo)
        found.started -= 100
        return found

    return make


def test_machines_that_joined_and_stayed_are_worth_a_new_attempt(watcher: Callable[..., Newcomers]) -> None:
    one, two = cluster(A100=1), cluster(free=1, A100=2)
    watch = watcher(one, one, two)
    # 9,000 at 10 a second take 15 minutes, and half of that with two, less the 30 seconds that actors take to come up.
    assert watch.worth(counts(1000, 10.0)) is None
    assert watch.worth(counts(1000, 10.0)) is None  # just joined, and perhaps not all
    reason = watch.worth(counts(1000, 10.0))
    assert reason == (
        "now there are 8 CPU cores, 2 x A100, not 8 CPU cores, 1 x A100: beginning anew from what is done, 7:00 sooner"
    )


def test_while_more_join_it_waits(watcher: Callable[..., Newcomers]) -> None:
    watch = watcher(cluster(A100=1), *(cluster(free=number, A100=1 + number) for number in (1, 2, 3, 3)))
    assert [bool(watch.worth(counts(1000, 10.0))) for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("seen", "options"),
    [
        (counts(9_300, 10.0), {}),  # 70 seconds are left: 35 to be gained, and 30 are lost
        (counts(9_000, 10.0), {"waiting": 5_000}),  # what waits for its file is done again
        (counts(1_000, 10.0), {"todo": None}),
        (Counts(photos=1_000, history=counts(1_000, 10.0).history), {}),  # actors are still coming up
    ],
)
def test_what_is_not_worth_it(watcher: Callable[..., Newcomers], seen: Counts, options: dict[str, Any]) -> None:
    watch = watcher(cluster(A100=1), cluster(free=1, A100=2), **options)
    assert watch.worth(seen) is None
    assert watch.worth(seen) is None


def test_gpus_that_others_hold_or_that_went_away_are_none(watcher: Callable[..., Newcomers]) -> None:
    for now in (cluster(free=0, A100=2), cluster(free=0, A100=1), cluster(4.0, free=0, A100=1)):
        watch = watcher(cluster(A100=1), now)
        assert [watch.worth(counts(1000, 10.0)) for _ in range(3)] == [None] * 3


def test_a_cluster_that_does_not_answer_or_a_plan_that_cannot_be_leaves_the_attempt_alone(
    watcher: Callable[..., Newcomers], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watcher(cluster(A100=1), cluster(free=1, A100=2))

    def refuse(machines: Machines) -> dict[str, Pool]:
        raise QpertError("no GPU of type V100")

    watch.plan = refuse
    assert [watch.worth(counts(1000, 10.0)) for _ in range(3)] == [None] * 3

    def silent(ask: bool) -> Machines:
        raise ray.exceptions.RayError("the head is gone")

    monkeypatch.setattr(Machines, "cluster", silent)
    assert watch.worth(counts(1000, 10.0)) is None


def test_it_looks_now_and_then() -> None:
    watch = Newcomers(cluster(A100=1), plan(cluster(A100=1)), plan, 0, 10_000)
    assert watch.worth(counts(1000, 10.0)) is None  # without asking a cluster, which is not there


def test_only_more_is_more() -> None:
    before = cluster(A100=2)
    assert grown(before, cluster(A100=3))
    assert grown(before, cluster(A100=2, V100=1))
    assert grown(before, cluster(16.0, A100=2))
    assert grown(before, cluster(4.0, A100=1, V100=1))
    assert not grown(before, cluster(A100=1))
    assert not grown(before, before)


def test_what_is_ours_is_what_was_free_and_what_joined_and_is_free() -> None:
    before = Machines(8, Counter(A100=4, K80=1), {"K80": Gpu(2**30)}, free_gpus=Counter(A100=3))
    now = Machines(8, Counter(A100=6, K80=1, V100=2), free_gpus=Counter(A100=1, V100=2, K80=1), free_cpus=1.0)
    found = ours(before, now)
    assert found.free_gpus == Counter(A100=4, V100=2)
    assert (found.gpus, found.free_cpus, found.kinds) == (now.gpus, None, before.kinds)


def test_the_slowest_stage_says_how_much_faster_it_goes() -> None:
    seen = Counts(seconds={"detect": 10.0, "encode": 90.0})
    old = plan(cluster(A100=2))
    assert speed_up(seen, old, plan(cluster(A100=6))) == 3.0
    assert speed_up(seen, old, plan(cluster(64.0, A100=2))) == 1.0
    assert speed_up(seen, plan(cluster(4.0)), plan(cluster(8.0))) == 2.0
    assert speed_up(seen, plan(cluster()), old) == math.inf
    assert speed_up(seen, old, plan(cluster())) == 1.0
    # Detection by itself on other GPUs leaves whole ones to the encoder.
    apart = {"detect": Pool(1, 1.0, 0, None, 1), "encode": Pool(2, 1.0, 0, None, 1)}
    assert speed_up(seen, old, apart) == 2.0
    assert speed_up(Counts(), old, apart) == 1.0

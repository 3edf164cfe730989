"""When machines that have joined are worth a new attempt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import ray

from pipeline.cluster import rescaling as newcomers
from pipeline.cluster.machines import Gpu, Machines
from pipeline.cluster.pools import Pool, plan_pools
from pipeline.cluster.rescaling import Newcomers, grown, ours, speed_up
from pipeline.errors import QpertError
from pipeline.runs.run_stats import RunStats

BOTH = ["detect", "encode"]
NOW = 1e9


def cluster(cpus: float = 8.0, free: int | None = None, **gpus: int) -> Machines:
    there = Counter(gpus)
    return Machines(cpus, there, free_gpus=there if free is None else Counter({next(iter(gpus)): free}))


def counts(photos: int, rate: float, *, warm: float = 30.0, ago: float = 100.0, busy: float = 1.0) -> RunStats:
    """After so many photos, `ago` seconds after an attempt on one A100 began whose actors were all up after `warm`."""
    begun = NOW - ago
    seconds = {"detect": 0.2 * busy * photos / rate, "encode": busy * photos / rate}
    found = RunStats(photos=photos, seconds=seconds, warm=(begun + warm, Counter()))
    found.work = {(stage, "cuda:A100"): (photos, spent) for stage, spent in seconds.items()}
    found.history = [(begun + warm - 5, 10)]  # one actor was quicker up than the others
    found.history += [(begun + second, round(photos - rate * (ago - second))) for second in range(int(warm), 101, 5)]
    return found


def plan(machines: Machines) -> dict[str, Pool]:
    return plan_pools(machines, BOTH)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Newcomers]:
    """One of an attempt that began 100 seconds ago, which finds these machines when it looks."""

    def make(before: Machines, *now: Machines, todo: int | None = 10_000, waiting: int = 0) -> Newcomers:
        monkeypatch.setattr(newcomers, "LOOK", 0.0)
        looks = list(now)
        monkeypatch.setattr(Machines, "cluster", lambda ask=True: looks.pop(0) if len(looks) > 1 else looks[0])
        found = Newcomers(before, plan(before), plan, waiting, todo)
        found.started = NOW - 100
        return found

    return make


def test_machines_that_joined_and_stayed_are_worth_a_new_attempt(watcher: Callable[..., Newcomers]) -> None:
    one, two = cluster(A100=1), cluster(free=1, A100=2)
    watch = watcher(one, one, two)
    # 9,000 at 10 a second take 15 minutes, half of that with two, less 30 seconds for actors to come up and 15 more.
    assert watch.worth(counts(1000, 10.0)) is None
    assert watch.worth(counts(1000, 10.0)) is None  # just joined, and perhaps not all
    reason = watch.worth(counts(1000, 10.0))
    assert reason == (
        "now there are 8 CPU cores, 2 x A100, not 8 CPU cores, 1 x A100: beginning anew from what is done, 6:45 sooner"
    )


def test_while_more_join_it_waits(watcher: Callable[..., Newcomers]) -> None:
    watch = watcher(cluster(A100=1), *(cluster(free=number, A100=1 + number) for number in (1, 2, 3, 3)))
    assert [bool(watch.worth(counts(1000, 10.0))) for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("worth", "photos", "seen", "options"),
    [
        (True, 8_000, {}, {}),  # 200 seconds are left: 100 to be gained, and 45 are lost
        (False, 9_000, {}, {}),
        (False, 8_000, {}, {"waiting": 5_000}),  # what waits for its file is done again
        (False, 8_000, {}, {"todo": None}),
        (False, 8_000, {"warm": 50.0}, {}),  # all actors have not been up for a minute
        (False, 8_000, {"busy": 0.5}, {}),  # the actors wait for photos half of the time
    ],
)
def test_a_new_attempt_must_save_twice_what_it_costs(
    watcher: Callable[..., Newcomers], worth: bool, photos: int, seen: dict[str, Any], options: dict[str, Any]
) -> None:
    watch = watcher(cluster(A100=1), cluster(free=1, A100=2), **options)
    found = counts(photos, 10.0, **seen)
    assert watch.worth(found) is None
    assert bool(watch.worth(found)) == worth
    found.warm = None  # actors are still coming up
    assert watch.worth(found) is None


def test_gpus_that_others_hold_or_that_went_away_are_none(watcher: Callable[..., Newcomers]) -> None:
    for now in (cluster(free=0, A100=2), cluster(free=0, A100=1), cluster(4.0, free=0, A100=1)):
        watch = watcher(cluster(A100=1), now)
        assert [watch.worth(counts(1000, 10.0)) for _ in range(3)] == [None] * 3


def test_those_that_joined_are_asked_what_they_are_like_before_anything_ends(
    watcher: Callable[..., Newcomers], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watcher(cluster(A100=1), cluster(free=1, A100=2))
    asked: list[bool] = []

    def gone(ask: bool = True) -> Machines:
        asked.append(ask)
        return cluster(A100=1) if ask else cluster(free=1, A100=2)

    monkeypatch.setattr(Machines, "cluster", gone)
    assert [watch.worth(counts(1000, 10.0)) for _ in range(2)] == [None] * 2
    assert asked == [False, False, True]


@pytest.mark.parametrize("error", [QpertError("no GPU holds the model"), ray.exceptions.RayError("the head is gone")])
def test_a_plan_that_cannot_be_or_a_cluster_that_does_not_answer_leaves_the_attempt_alone(
    watcher: Callable[..., Newcomers], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    watch = watcher(cluster(A100=1), cluster(free=1, A100=2))
    calls: list[object] = []

    def fail(*of: object, **what: object) -> Any:
        calls.append(of)
        raise error

    watch.plan = fail
    assert [watch.worth(counts(1000, 10.0)) for _ in range(3)] == [None] * 3
    assert len(calls) == 2
    monkeypatch.setattr(Machines, "cluster", fail)
    assert watch.worth(counts(1000, 10.0)) is None
    assert len(calls) == 3


def test_it_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []
    monkeypatch.setattr(Machines, "cluster", lambda ask: looks.append(ask) or cluster(A100=1))
    watch = Newcomers(cluster(A100=1), plan(cluster(A100=1)), plan, 0, 10_000)
    for _ in range(5):
        watch.worth(counts(1000, 10.0))
    assert looks == []
    watch.looked -= 31
    for _ in range(5):
        watch.worth(counts(1000, 10.0))
    assert looks == [False]


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


def factor(seen: RunStats, before: Machines, now: Machines, rate: float = 10.0) -> float:
    return speed_up(seen, rate, (before, plan(before)), (now, plan(now)))


def test_a_run_goes_as_fast_as_the_stage_that_is_slowest_then() -> None:
    two = cluster(A100=2)
    seen = counts(1000, 10.0, busy=2.0)
    assert factor(seen, two, cluster(A100=6)) == 3.0
    assert factor(seen, two, cluster(64.0, A100=2)) == 1.0
    assert factor(seen, two, cluster(A100=6), rate=6.0) == 1.0  # something else is slower
    # Detection by boxes that are known runs on CPUs, a fifth of the work on 8 of them, and limits from x5 on.
    known = {"detect": Pool(4, None, 0.5, 2, 0)}
    old, new = {**known, "encode": Pool(2, 1.0, 0, None, 1)}, {**known, "encode": Pool(40, 1.0, 0, None, 1)}
    assert speed_up(seen, 10.0, (two, old), (cluster(A100=40), new)) == pytest.approx(10.0)
    assert speed_up(RunStats(), 10.0, (two, old), (cluster(A100=40), new)) == 1.0
    seen.work["detect", "cuda:A100"] = (0, 0.0)  # all photos failed before
    assert speed_up(seen, 10.0, (two, old), (cluster(A100=40), new)) == 1.0


def test_gpus_that_join_count_by_the_slowest_that_is_known() -> None:
    before = cluster(A100=1, V100=1)
    seen = RunStats(seconds={"detect": 1.0, "encode": 200.0})
    seen.work = {
        ("detect", "cuda:0"): (1000, 1.0),
        ("encode", "cuda:A100"): (800, 100.0),
        ("encode", "V"): (200, 100.0),
    }
    assert factor(seen, before, cluster(A100=2, V100=1)) == pytest.approx((10 + 2) / 10)
    assert factor(seen, before, cluster(A100=1, V100=1, K80=2)) == pytest.approx((10 + 2 * 2 / 4) / 10)


def test_what_is_not_clear_is_no_reason() -> None:
    seen = counts(1000, 10.0)
    assert factor(counts(1000, 10.0, busy=4.0), cluster(), cluster(A100=1)) == 1.0  # of which nothing is known
    assert factor(seen, cluster(A100=1), cluster()) == 1.0
    # Detection by itself on other GPUs leaves whole ones to the encoder, and nobody knows how fast it is there.
    apart = {"detect": Pool(1, 1.0, 0, None, 1), "encode": Pool(1, 1.0, 0, None, 1)}
    one = cluster(A100=1)
    assert speed_up(seen, 10.0, (one, plan(one)), (cluster(A100=1, K80=1), apart)) == 1.0


def test_cpus_that_join_count_as_far_as_the_actors_can_use_them() -> None:
    def cores(cpus: float, nodes: int) -> Machines:
        return Machines(cpus, nodes=nodes)

    assert factor(counts(1000, 10.0, busy=4.0), cores(4, 1), cores(8, 2)) == 2.0
    assert factor(counts(1000, 10.0, busy=4.0), cores(8, 1), cores(16, 2)) == 2.0
    assert factor(counts(1000, 10.0, busy=8.0), cores(32, 1), cores(64, 2)) == 2.0
    # One actor, because more of such models do not fit or were not asked for, sits on one machine.
    alone = [{stage: Pool(1, None, 0.5, threads, 0) for stage in BOTH} for threads in (32, 64)]
    assert speed_up(counts(1000, 10.0), 10.0, (cores(32, 1), alone[0]), (cores(64, 2), alone[1])) == 1.0

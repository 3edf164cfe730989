"""Decisions whether to restart when machines have joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import ray

from pipeline.cluster.machines import Gpu, Machines
from pipeline.cluster.pools import Pool, plan_pools
from pipeline.cluster.rescaling import Pace, Rescaling, Restart, grown, speed_up, usable
from pipeline.errors import QpertError

BOTH = ["detect", "encode"]


def cluster(cpus: float = 8.0, free: int | None = None, **gpus: int) -> Machines:
    counts = Counter(gpus)
    return Machines(cpus, counts, free_gpus=counts if free is None else Counter({next(iter(gpus)): free}))


def pace(photos: int, rate: float = 10.0, *, startup: float = 30.0, measured: float = 70.0, busy: float = 1.0) -> Pace:
    """An attempt on one A100, whose encoder works a share `busy` of the time, and its detector a fifth of that."""
    seconds = {"detect": 0.2 * busy * photos / rate, "encode": busy * photos / rate}
    work = {(stage, "cuda:A100"): (photos, spent) for stage, spent in seconds.items()}
    return Pace(photos, rate, measured, startup, work)


def plan(machines: Machines) -> dict[str, Pool]:
    return plan_pools(machines, BOTH)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rescaling]:
    """Makes a `Rescaling` whose polls see the given machines in turn, then always the last ones."""

    def rescaling(before: Machines, *now: Machines, todo: int | None = 10_000, unwritten: int = 0) -> Rescaling:
        polls = list(now)
        monkeypatch.setattr(Machines, "cluster", lambda ask=True: polls.pop(0) if len(polls) > 1 else polls[0])
        return Rescaling(before, plan(before), plan, unwritten, todo)

    return rescaling


def poll(rescaling: Rescaling, pace: Pace) -> Restart | None:
    """Polls as if the time between two polls had passed."""
    rescaling.polled -= rescaling.cost(pace)
    return rescaling.poll(pace)


def test_a_restart_is_worth_it_when_machines_have_joined_and_stayed(make: Callable[..., Rescaling]) -> None:
    one, two = cluster(A100=1), cluster(free=1, A100=2)
    rescaling = make(one, one, two)
    # 9,000 photos at 10 per second take 900 s; with two GPUs 450 s, and 45 s for the restart itself.
    assert poll(rescaling, pace(1000)) is None
    assert poll(rescaling, pace(1000)) is None  # just joined, and more may follow
    assert poll(rescaling, pace(1000)) == Restart(two, pytest.approx(405.0))


def test_a_restart_waits_while_more_machines_join(make: Callable[..., Rescaling]) -> None:
    rescaling = make(cluster(A100=1), *(cluster(free=number, A100=1 + number) for number in (1, 2, 3, 3)))
    assert [bool(poll(rescaling, pace(1000))) for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("worth", "photos", "seen", "options"),
    [
        (True, 8_000, {}, {}),  # 200 s are left, 100 s with two GPUs, and a restart costs 45 s
        (True, 9_000, {}, {}),  # 100 s, 50 s and 45 s
        (False, 9_200, {}, {}),  # 80 s, 40 s and 45 s
        (False, 8_000, {}, {"unwritten": 5_000}),  # photos that are not yet written are done again
        (False, 8_000, {}, {"todo": None}),
        (False, 8_000, {"startup": 90.0}, {}),  # a restart costs 105 s
        (False, 1_000, {"measured": 44.0}, {}),  # the rate was measured for less time than a restart takes
        (True, 1_000, {"measured": 45.0}, {}),
        (False, 1_000, {"startup": 60.0}, {}),
        (False, 1_000, {"busy": 0.5}, {}),  # the actors wait for photos half of the time
    ],
)
def test_a_restart_must_save_more_than_it_costs(
    make: Callable[..., Rescaling], worth: bool, photos: int, seen: dict[str, Any], options: dict[str, Any]
) -> None:
    rescaling = make(cluster(A100=1), cluster(free=1, A100=2), **options)
    assert poll(rescaling, pace(photos, **seen)) is None
    assert bool(poll(rescaling, pace(photos, **seen))) == worth


@pytest.mark.parametrize("startup", [5.0, 600.0])
def test_the_time_left_decides_however_long_actors_take_to_start(
    make: Callable[..., Rescaling], startup: float
) -> None:
    seconds = startup + 15.0  # cost of a restart; doubling the speed pays if more than twice as many are left
    for left, worth in ((1.9 * seconds, False), (2.1 * seconds, True)):
        rescaling = make(cluster(A100=1), cluster(free=1, A100=2), todo=1_000 + round(10 * left))
        seen = pace(1_000, startup=startup, measured=seconds)
        assert poll(rescaling, seen) is None
        assert bool(poll(rescaling, seen)) == worth


def test_gpus_of_other_jobs_and_lost_gpus_do_not_count(make: Callable[..., Rescaling]) -> None:
    for now in (cluster(free=0, A100=2), cluster(free=0, A100=1), cluster(4.0, free=0, A100=1)):
        rescaling = make(cluster(A100=1), now)
        assert [poll(rescaling, pace(1000)) for _ in range(3)] == [None] * 3


def test_new_nodes_report_their_gpus_before_a_restart(
    make: Callable[..., Rescaling], monkeypatch: pytest.MonkeyPatch
) -> None:
    rescaling = make(cluster(A100=1), cluster(free=1, A100=2))
    asked: list[bool] = []

    def gone(ask: bool = True) -> Machines:
        asked.append(ask)
        return cluster(A100=1) if ask else cluster(free=1, A100=2)

    monkeypatch.setattr(Machines, "cluster", gone)
    assert [poll(rescaling, pace(1000)) for _ in range(2)] == [None] * 2
    assert asked == [False, False, True]


@pytest.mark.parametrize("error", [QpertError("no GPU holds the model"), ray.exceptions.RayError("the head is gone")])
def test_without_a_plan_or_an_answer_the_attempt_goes_on(
    make: Callable[..., Rescaling], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    rescaling = make(cluster(A100=1), cluster(free=1, A100=2))
    calls: list[object] = []

    def fail(*arguments: object, **options: object) -> Any:
        calls.append(arguments)
        raise error

    rescaling.plan = fail
    assert [poll(rescaling, pace(1000)) for _ in range(3)] == [None] * 3
    assert len(calls) == 2
    monkeypatch.setattr(Machines, "cluster", fail)
    assert poll(rescaling, pace(1000)) is None
    assert len(calls) == 3


def test_the_cluster_is_polled_once_per_restart_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[bool] = []
    monkeypatch.setattr(Machines, "cluster", lambda ask: polls.append(ask) or cluster(A100=1))
    rescaling = Rescaling(cluster(A100=1), plan(cluster(A100=1)), plan, 0, 10_000)
    for _ in range(5):
        rescaling.poll(pace(1000))
    assert polls == []
    rescaling.polled -= 46
    for _ in range(5):
        rescaling.poll(pace(1000))
    assert polls == [False]


def test_only_more_machines_count_as_grown() -> None:
    before = cluster(A100=2)
    assert grown(before, cluster(A100=3))
    assert grown(before, cluster(A100=2, V100=1))
    assert grown(before, cluster(16.0, A100=2))
    assert grown(before, cluster(4.0, A100=1, V100=1))
    assert not grown(before, cluster(A100=1))
    assert not grown(before, before)


def test_usable_gpus_are_those_free_before_and_those_that_joined_and_are_free() -> None:
    before = Machines(8, Counter(A100=4, K80=1), {"K80": Gpu(2**30)}, free_gpus=Counter(A100=3))
    now = Machines(8, Counter(A100=6, K80=1, V100=2), free_gpus=Counter(A100=1, V100=2, K80=1), free_cpus=1.0)
    machines = usable(before, now)
    assert machines.free_gpus == Counter(A100=4, V100=2)
    assert (machines.gpus, machines.free_cpus, machines.kinds) == (now.gpus, None, before.kinds)


def factor(seen: Pace, before: Machines, now: Machines) -> float:
    return speed_up(seen, (before, plan(before)), (now, plan(now)))


def test_the_slowest_stage_limits_the_speed_up() -> None:
    two = cluster(A100=2)
    seen = pace(1000, busy=2.0)  # both GPUs always work
    assert factor(seen, two, cluster(A100=6)) == 3.0
    assert factor(seen, two, cluster(64.0, A100=2)) == 1.0
    # Looking up known boxes on 8 CPUs is ten times as fast as the encoder on two GPUs, and limits the speed-up to x10.
    known = {"detect": Pool(4, None, 0.5, 2, 0)}
    old, new = {**known, "encode": Pool(2, 1.0, 0, None, 1)}, {**known, "encode": Pool(40, 1.0, 0, None, 1)}
    assert speed_up(seen, (two, old), (cluster(A100=40), new)) == pytest.approx(10.0)
    assert speed_up(Pace(0, 10.0, 70.0, 30.0, {}), (two, old), (cluster(A100=40), new)) == 1.0
    failed = {**seen.work, ("detect", "cuda:A100"): (0, 0.0)}  # all photos failed in an earlier stage
    assert speed_up(Pace(1000, 10.0, 70.0, 30.0, failed), (two, old), (cluster(A100=40), new)) == 1.0


@pytest.mark.parametrize(("busy", "expected"), [(1.0, 3.0), (0.75, 2.0), (0.6, 1 / 0.6), (0.5, 1.0), (0.1, 1.0)])
def test_only_the_time_in_which_actors_work_becomes_shorter(busy: float, expected: float) -> None:
    assert factor(pace(1000, busy=busy), cluster(A100=1), cluster(A100=3)) == pytest.approx(expected)


def test_gpus_that_join_count_as_the_slowest_type_seen() -> None:
    before = cluster(A100=1, V100=1)
    work = {
        ("detect", "cuda:0"): (1000, 1.0),
        ("encode", "cuda:A100"): (800, 100.0),
        ("encode", "V"): (200, 100.0),
    }
    seen = Pace(1000, 10.0, 70.0, 30.0, work)
    assert factor(seen, before, cluster(A100=2, V100=1)) == pytest.approx((10 + 2) / 10)
    assert factor(seen, before, cluster(A100=1, V100=1, K80=2)) == pytest.approx((10 + 2 * 2 / 4) / 10)


def test_no_speed_up_is_assumed_where_it_is_unknown() -> None:
    seen = pace(1000)
    assert factor(pace(1000, busy=4.0), cluster(), cluster(A100=1)) == 1.0  # nothing has run on that GPU
    assert factor(seen, cluster(A100=1), cluster()) == 1.0
    # If detection moves to other GPUs, the encoder gets whole ones, on which its speed is unknown.
    apart = {"detect": Pool(1, 1.0, 0, None, 1), "encode": Pool(1, 1.0, 0, None, 1)}
    one = cluster(A100=1)
    assert speed_up(seen, (one, plan(one)), (cluster(A100=1, K80=1), apart)) == 1.0


def test_cpus_that_join_count_if_actors_can_use_them() -> None:
    def cores(cpus: float, nodes: int) -> Machines:
        return Machines(cpus, nodes=nodes)

    assert factor(pace(1000, busy=4.0), cores(4, 1), cores(8, 2)) == 2.0
    assert factor(pace(1000, busy=4.0), cores(8, 1), cores(16, 2)) == 2.0
    assert factor(pace(1000, busy=8.0), cores(32, 1), cores(64, 2)) == 2.0
    # A single actor, which was asked for or fills the memory, stays on one machine.
    alone = [{stage: Pool(1, None, 0.5, threads, 0) for stage in BOTH} for threads in (32, 64)]
    assert speed_up(pace(1000), (cores(32, 1), alone[0]), (cores(64, 2), alone[1])) == 1.0


def test_actors_that_do_all_stages_are_as_fast_as_their_stages_together() -> None:
    """Four actors that take 0.1 s for detection and 0.3 s for the embedding of a photo make ten photos a second."""
    before, after = Machines(4.0), Machines(8.0, nodes=2)
    work = {("detect", "cpu"): (100, 10.0), ("encode", "cpu"): (100, 30.0)}
    plans = [plan_pools(machines, BOTH, share_actors=True) for machines in (before, after)]
    fast, slow = (
        speed_up(Pace(100, rate, 70.0, 30.0, work), (before, plans[0]), (after, plans[1])) for rate in (10.0, 4.0)
    )
    assert fast == pytest.approx(2.0)  # all cores work all the time, and there are twice as many
    assert slow == 1.0  # the actors wait more than they work
    one_stage = {("detect", "cpu"): (100, 10.0)}
    assert speed_up(Pace(100, 10.0, 70.0, 30.0, one_stage), (before, plans[0]), (after, plans[1])) == 1.0


def test_stages_that_stop_sharing_actors_have_an_unknown_speed() -> None:
    machines = Machines(4.0)
    work = {("detect", "cpu"): (100, 10.0), ("encode", "cpu"): (100, 30.0)}
    shared, alone = plan_pools(machines, BOTH, share_actors=True), plan_pools(Machines(8.0), BOTH)
    assert speed_up(Pace(100, 10.0, 70.0, 30.0, work), (machines, shared), (Machines(8.0), alone)) == 1.0

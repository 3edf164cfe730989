"""The simulation of the graph: known answers, and what holds of any run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulation.events import simulate
from pipeline.simulation.workload import Actor, Failures, Overheads, Workload

NOTHING = Overheads(start=0, block=0, driver=0, file=0, end=0, restart=0)


def work(photos: int, *stages: list[float], **options: object) -> Workload:
    actors = tuple(tuple(Actor(seconds, number) for number, seconds in enumerate(stage)) for stage in stages)
    settled = {"block_rows": 10, "file_rows": 40, "overheads": NOTHING, "readers": 100}
    return Workload(photos, actors, **{**settled, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stages", "seconds"),
    [
        ([[0.01]], 10),
        ([[0.01, 0.01]], 5),
        ([[0.01], [0.002]], 10 + 0.02),  # the last block passes the second stage alone
        ([[0.002], [0.01]], 10 + 0.02),
    ],
)
def test_stages_work_side_by_side(stages: list[list[float]], seconds: float) -> None:
    assert simulate(work(1000, *stages)).seconds == pytest.approx(seconds)


def test_a_slow_actor_keeps_the_two_blocks_that_it_has() -> None:
    found = simulate(work(60, [0.01, 0.1]))
    # The slow one takes two blocks of ten at once and needs a second for each; the fast one does the other four.
    assert found.seconds == pytest.approx(2)


def test_overheads_add_up() -> None:
    costs = Overheads(start=3, block=0.5, driver=0, file=0.25, end=1)
    assert simulate(work(100, [0.01], overheads=costs)).seconds == pytest.approx(3 + 10 * 0.6 + 0.25 + 1)
    assert simulate(work(100, [0.01], listing=7)).seconds == pytest.approx(1 + 7)


def test_one_driver_limits_any_number_of_actors() -> None:
    found = simulate(work(10_000, [0.01] * 500, overheads=Overheads(0, 0, 0.01, 0, 0)))
    assert found.driver_busy == pytest.approx(0.01 * (1000 + 1000 + 250))  # reading, encoding, writing
    assert found.working == pytest.approx(found.driver_busy, rel=0.05)


def test_a_killed_actor_loses_what_it_was_doing() -> None:
    killed = Failures(killed=((0.15, 0, 0),))
    found = simulate(work(100, [0.01], failures=killed, overheads=Overheads(0, 0, 0, 0, 0, restart=2)))
    assert (found.failures, found.repeated) == (1, 10)
    assert found.lost == pytest.approx(0.05)
    assert found.seconds == pytest.approx(1 + 0.05 + 2)


def test_a_driver_that_fails_goes_on_from_what_is_committed() -> None:
    found = simulate(work(400, [0.01], failures=Failures(driver=3600 / 3, seed=3)))
    assert found.attempts == found.failures + 1 > 1
    assert found.repeated > 0
    assert found.seconds > 4


@settings(deadline=None, max_examples=60)
@given(
    photos=st.integers(1, 2000),
    first=st.lists(st.floats(0.001, 0.1), min_size=1, max_size=5),
    second=st.lists(st.floats(0.001, 0.1), max_size=4),
    nodes=st.sampled_from([0.0, 600.0]),
    seed=st.integers(0, 1000),
)
def test_every_photo_is_committed_once(
    photos: int, first: list[float], second: list[float], nodes: float, seed: int
) -> None:
    failures = Failures(nodes=nodes, driver=nodes / 4, replaced=1, seed=seed)
    stages = [first, second] if second else [first]
    found = simulate(work(photos, *stages, failures=failures))
    at_best = photos / sum(1 / seconds for seconds in first)
    assert found.seconds >= at_best * 0.999
    assert found.files >= photos / 50
    if not nodes:
        assert found.repeated == found.failures == 0
        assert found.blocks == -(-photos // 10)

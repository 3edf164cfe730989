"""Which shards are made: whole files, packed by size, merged as they accumulate, and the same after every kill."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.building.planning import FAN, plan_shards
from pipeline.building.set_files import SetFile
from pipeline.building.spec import BuildSpec

FULL = 1000


def a_file(number: int, size: int) -> SetFile:
    return SetFile(f"part{number:04}-0.parquet", size // 10, size, f"{number:032x}")


def files_of(*sizes: int) -> list[SetFile]:
    return [a_file(number, size) for number, size in enumerate(sizes)]


def names(group: tuple[SetFile, ...]) -> tuple[str, ...]:
    return tuple(file.name for file in group)


def carried_out(files, shards, full=FULL):
    """The shards after a plan: key -> names. A key is what the shard is made of, as in a build."""
    plan = plan_shards(files, shards, full)
    after = {key: shards[key] for key in plan.kept}
    return plan, after | {"+".join(names(group)): names(group) for group in plan.groups}


def test_consecutive_files_are_packed_up_to_the_size() -> None:
    plan = plan_shards(files_of(400, 400, 400, 900, 100), {}, FULL)
    assert [[file.bytes for file in group] for group in plan.groups] == [[400, 400], [400], [900, 100]]
    assert (plan.kept, plan.dropped) == ((), ())


def test_a_file_larger_than_a_shard_is_one() -> None:
    assert [len(group) for group in plan_shards(files_of(5000, 10), {}, FULL).groups] == [1, 1]


def test_only_new_files_are_built() -> None:
    files = files_of(900, 900, 700)
    old = {"a": names(files[:1]), "b": names(files[1:2])}
    plan = plan_shards(files, old, FULL)
    assert plan.kept == ("a", "b")
    assert [names(group) for group in plan.groups] == [names(files[2:])]
    assert plan.photos == 70


def test_a_shard_of_a_file_that_is_gone_is_made_again_of_the_others() -> None:
    files = files_of(300, 300, 300)
    plan = plan_shards(files[1:], {"a": names(files)}, FULL)
    assert plan.dropped == ("a",)
    assert [names(group) for group in plan.groups] == [names(files[1:])]


def test_no_file_is_in_two_shards() -> None:
    files = files_of(900, 900)
    plan = plan_shards(files, {"a": names(files), "b": names(files[1:])}, FULL)
    assert (plan.kept, plan.dropped, plan.groups) == (("a",), ("b",), ())


def test_small_shards_are_merged_when_there_are_enough() -> None:
    files, shards = [], {}
    for number in range(FAN - 1):
        files.append(a_file(number, 20))
        _, shards = carried_out(files, shards)
    assert len(shards) == FAN - 1
    files.append(a_file(FAN, 20))
    plan, shards = carried_out(files, shards)
    assert len(plan.dropped) == FAN - 1
    assert list(shards.values()) == [names(tuple(files))]


def test_growing_file_by_file_rewrites_each_photo_a_few_times() -> None:
    files, shards, written = [], {}, 0
    for number in range(200):
        files.append(a_file(number, 10))
        plan, shards = carried_out(files, shards)
        written += sum(file.bytes for group in plan.groups for file in group)
    assert len(shards) < 3 * FAN
    assert written < 5 * sum(file.bytes for file in files)


sizes = st.lists(st.integers(0, 1500), min_size=1, max_size=40)


@given(sizes, st.lists(st.booleans(), min_size=40, max_size=40), sizes)
def test_a_plan_covers_every_file_once_and_is_then_done(first, gone, added) -> None:
    files = files_of(*first)
    _, shards = carried_out(files, {})
    left = [file for file, out in zip(files, gone, strict=False) if not out]
    now = left + [a_file(100 + number, size) for number, size in enumerate(added)]
    plan, after = carried_out(now, shards)
    assert sorted(name for group in after.values() for name in group) == sorted(file.name for file in now)
    assert set(plan.kept) | set(plan.dropped) == set(shards)
    again = plan_shards(now, after, FULL)
    assert (again.groups, again.dropped) == ((), ())
    by_name = {file.name: file for file in now}
    assert all(len(group) == 1 or sum(by_name[name].bytes for name in group) <= FULL for group in after.values())


@pytest.mark.parametrize("size", [1, 10**6])
def test_any_size_aimed_at_is_fine(size: int) -> None:
    files = files_of(*[50] * 30)
    _, after = carried_out(files, {}, size)
    assert sum(map(len, after.values())) == 30


def test_lists_are_kept_in_fewer_and_larger_shards() -> None:
    assert (
        BuildSpec(features=["f"]).shard_bytes(listed=True) == 4 * BuildSpec(features=["f"]).shard_bytes() == 4 * 2**30
    )
    assert BuildSpec(features=["f"], shard_size=2**20).shard_bytes(listed=True) == 2**20

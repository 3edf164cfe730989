from __future__ import annotations

from collections import Counter

import pytest

from pipeline.errors import QpertError
from pipeline.stages.graph import IO_CPUS
from pipeline.stages.pools import Machines, plan_pools

BOTH = ["detect", "encode"]
MIXED = Machines(64, Counter({"A100": 4, "GeForce-GTX-1080-Ti": 2}))


def test_every_gpu_carries_both_stages() -> None:
    pools = plan_pools(MIXED, BOTH)
    assert [(pool.size, pool.num_gpus, pool.labels) for pool in pools.values()] == [(6, 0.5, None), (6, 0.5, None)]
    assert pools["detect"].options == {"num_cpus": pools["detect"].num_cpus, "num_gpus": 0.5}


def test_gpu_types_are_selected_by_label() -> None:
    one = plan_pools(MIXED, ["encode"], accelerators=["A100"])["encode"]
    assert (one.size, one.num_gpus, one.labels) == (4, 1.0, {"ray.io/accelerator-type": "A100"})
    both = plan_pools(MIXED, ["encode"], accelerators=["A100", "GeForce-GTX-1080-Ti"])["encode"]
    assert both.size == 6
    assert both.options["label_selector"] == {"ray.io/accelerator-type": "in(A100,GeForce-GTX-1080-Ti)"}


def test_annotated_boxes_need_no_gpu() -> None:
    pools = plan_pools(MIXED, BOTH, cpu_only=["detect"])
    assert pools["detect"].num_gpus is None
    assert pools["encode"].num_gpus == 1.0
    assert "num_gpus" not in pools["detect"].options


def test_without_gpus_or_told_to_use_none() -> None:
    for pools in (plan_pools(Machines(8), BOTH), plan_pools(Machines(8, Counter(A100=1)), BOTH, accelerators=["none"])):
        assert all(pool.num_gpus is None for pool in pools.values())


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8, 16, 64, 256])
def test_on_cpus_threads_fit_the_cores_and_two_cpus_stay_free(cpus: int) -> None:
    pools = plan_pools(Machines(cpus), BOTH)
    for pool in pools.values():
        assert pool.threads is not None
        assert pool.size * pool.threads <= max(1, cpus)
        assert pool.num_cpus != IO_CPUS
    assert sum(pool.size * pool.num_cpus for pool in pools.values()) <= max(0, min(cpus / 2, cpus - 2)) + 1e-9


def test_no_more_actors_than_blocks_of_work() -> None:
    assert {pool.size for pool in plan_pools(Machines(8), BOTH, blocks=1).values()} == {1}
    assert {pool.size for pool in plan_pools(MIXED, BOTH, blocks=2).values()} == {2}


def test_sizes_can_be_given() -> None:
    pools = plan_pools(MIXED, BOTH, sizes={"detect": 1, "encode": None}, num_gpus={"detect": 0.25})
    assert (pools["detect"].size, pools["detect"].num_gpus) == (1, 0.25)


def test_a_gpu_type_that_is_not_there_is_an_error() -> None:
    with pytest.raises(QpertError, match=r"no GPU of type H100 .*there is 4 x A100, 2 x GeForce"):
        plan_pools(MIXED, BOTH, accelerators=["A100", "H100"])


def test_machines_and_pools_read_well() -> None:
    assert str(MIXED) == "64 CPU cores, 4 x A100, 2 x GeForce-GTX-1080-Ti"
    assert str(plan_pools(MIXED, BOTH, accelerators=["A100"])["detect"]) == "4 actors, each 0.5 GPU of A100"
    assert str(plan_pools(Machines(2), ["encode"], sizes={"encode": 1})["encode"]) == "1 actor, each CPU, 2 threads"

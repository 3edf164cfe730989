from __future__ import annotations

from collections import Counter

import pytest

from pipeline.cluster.machines import Gpu, Machines
from pipeline.cluster.pools import plan_pools
from pipeline.errors import QpertError
from pipeline.runs.graph import IO_CPUS

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


def test_stages_without_use_for_a_gpu_run_on_cpus() -> None:
    pools = plan_pools(MIXED, BOTH, cpu_only=["detect"])
    assert pools["detect"].num_gpus is None
    assert pools["encode"].num_gpus == 1.0
    assert "num_gpus" not in pools["detect"].options


def test_cpus_are_used_without_gpus_or_on_request() -> None:
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


@pytest.mark.parametrize(
    ("cpus", "size", "threads"), [(1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 1), (16, 8, 2), (64, 32, 2)]
)
def test_without_gpus_all_stages_share_their_actors(cpus: int, size: int, threads: int) -> None:
    pools = plan_pools(Machines(cpus), BOTH, share_actors=True)
    assert pools["detect"] == pools["encode"]
    pool = pools["encode"]
    assert (pool.shared, pool.size, pool.threads, pool.num_gpus) == (True, size, threads, None)
    assert pool.size * pool.num_cpus <= max(0, min(cpus / 2, cpus - 2)) + 1e-9
    assert pool.num_cpus != IO_CPUS


def test_stages_have_actors_of_their_own_where_that_matters() -> None:
    """On GPUs, if the user chose a number for a stage, and if there is one stage."""
    alone = [
        plan_pools(MIXED, BOTH, share_actors=True),
        plan_pools(MIXED, BOTH, cpu_only=["detect"], share_actors=True),
        plan_pools(Machines(8), BOTH, sizes={"detect": 1}, share_actors=True),
        plan_pools(Machines(8), ["encode"], share_actors=True),
        plan_pools(Machines(8), BOTH),
    ]
    assert not any(pool.shared for pools in alone for pool in pools.values())
    both = plan_pools(Machines(8), BOTH, sizes={"detect": 3, "encode": 3}, share_actors=True)
    assert [(pool.shared, pool.size) for pool in both.values()] == [(True, 3)] * 2


def test_shared_actors_reserve_the_memory_of_all_their_models() -> None:
    roomy = Machines(8, memory=(20 * GB,))
    pools = plan_pools(roomy, BOTH, needs={"encode": lambda dtype: 5 * GB}, share_actors=True)
    assert [(pool.size, pool.memory) for pool in pools.values()] == [(4, 5 * GB)] * 2
    assert plan_pools(roomy, BOTH, blocks=2, share_actors=True)["detect"].size == 2


def test_a_missing_gpu_type_is_an_error() -> None:
    with pytest.raises(QpertError, match=r"no GPU of type H100 .*there is 4 x A100, 2 x GeForce"):
        plan_pools(MIXED, BOTH, accelerators=["A100", "H100"])


def test_machines_and_pools_as_text() -> None:
    assert str(MIXED) == "64 CPU cores, 4 x A100, 2 x GeForce-GTX-1080-Ti"
    assert str(plan_pools(MIXED, BOTH, accelerators=["A100"])["detect"]) == "4 actors, each 0.5 GPU of A100"
    assert str(plan_pools(Machines(2), ["encode"], sizes={"encode": 1})["encode"]) == "1 actor, each CPU, 2 threads"


GB = 10**9
SIZED = Machines(
    64,
    Counter({"A100": 4, "GeForce-GTX-1080-Ti": 2}),
    {"A100": Gpu(80 * GB, (8, 0)), "GeForce-GTX-1080-Ti": Gpu(11 * GB, (6, 1))},
)
BIG = {"encode": {"float32": 56 * GB, "float16": 28 * GB, "bfloat16": 28 * GB}.__getitem__}


def test_gpus_too_small_for_a_model_are_left_to_the_other_stages() -> None:
    pools = plan_pools(SIZED, BOTH, needs=BIG)
    encode, detect = pools["encode"], pools["detect"]
    assert (encode.size, encode.num_gpus, encode.labels) == (4, 1.0, {"ray.io/accelerator-type": "A100"})
    assert (detect.size, detect.num_gpus, detect.labels) == (2, 1.0, {"ray.io/accelerator-type": "GeForce-GTX-1080-Ti"})


def test_gpus_that_hold_the_model_are_shared_by_all_stages() -> None:
    assert plan_pools(SIZED, BOTH, needs={"encode": lambda dtype: 10 * GB}) == plan_pools(SIZED, BOTH)
    assert plan_pools(MIXED, BOTH, needs=BIG) == plan_pools(MIXED, BOTH)  # their memory is unknown, so the actor checks


def test_memory_needs_follow_the_dtype_of_each_gpu() -> None:
    """In half precision 13 GB, which suits the V100; Pascal computes in float32, which needs 26 GB."""
    machines = Machines(8, Counter(V100=1, Pascal=1), {"V100": Gpu(16 * GB, (7, 0)), "Pascal": Gpu(24 * GB, (6, 1))})
    need = {"encode": {"float32": 26 * GB, "float16": 13 * GB, "bfloat16": 13 * GB}.__getitem__}
    assert plan_pools(machines, ["encode"], needs=need)["encode"].labels == {"ray.io/accelerator-type": "V100"}
    both = plan_pools(machines, ["encode"], needs=need, dtype="float16")["encode"]
    assert (both.size, both.labels) == (2, None)
    with pytest.raises(QpertError, match=r"V100 has 16.0 GB, and it needs 26.0 GB in float32; Pascal has 24.0 GB"):
        plan_pools(machines, ["encode"], needs=need, dtype="float32")


def test_a_model_that_fits_no_gpu_is_an_error() -> None:
    small = Machines(8, Counter(T4=2), {"T4": Gpu(16 * GB, (7, 5))})
    with pytest.raises(QpertError, match=r"no GPU holds the model of the stage encode: T4 has .*--accelerators none"):
        plan_pools(small, BOTH, needs=BIG)
    with pytest.raises(QpertError, match="no GPU holds"):
        plan_pools(SIZED, BOTH, needs=BIG, accelerators=["GeForce-GTX-1080-Ti"])


def test_unlabelled_gpus_are_selected_by_excluding_the_other_types() -> None:
    machines = Machines(8, Counter(unknown=2, T4=1), {"T4": Gpu(16 * GB, (7, 5)), "unknown": Gpu(80 * GB, (8, 0))})
    pools = plan_pools(machines, BOTH, needs=BIG)
    assert (pools["encode"].size, pools["encode"].labels) == (2, {"ray.io/accelerator-type": "!in(T4)"})
    assert (pools["detect"].size, pools["detect"].labels) == (1, {"ray.io/accelerator-type": "T4"})


def test_memory_limits_the_actors_of_large_models_on_cpus() -> None:
    machines = Machines(64, memory=(100 * GB, 120 * GB, 20 * GB))
    pools = plan_pools(machines, BOTH, needs=BIG)
    assert (pools["encode"].size, pools["encode"].memory) == (3, 56 * GB)
    assert pools["encode"].options["memory"] == 56 * GB
    assert pools["detect"].size == 16
    assert "memory" not in pools["detect"].options
    assert plan_pools(machines, BOTH, needs=BIG, dtype="bfloat16")["encode"].size == 7
    small = plan_pools(Machines(8, memory=(GB,)), ["encode"], needs={"encode": lambda dtype: GB // 2})["encode"]
    assert (small.size, small.memory) == (4, None)
    with pytest.raises(QpertError, match=r"takes 56.0 GB of memory in float32, and the largest machine has 20.0 GB"):
        plan_pools(Machines(8, memory=(20 * GB,)), BOTH, needs=BIG)


def test_resources_of_other_jobs_are_left_to_them() -> None:
    machines = Machines(16, Counter({"A100": 4}), free_cpus=6.0, free_gpus=Counter({"A100": 2}))
    pools = plan_pools(machines, ["detect", "encode"])
    assert [pool.size for pool in pools.values()] == [2, 2]
    assert sum(pool.size * pool.num_cpus for pool in pools.values()) <= 3  # at least two CPUs stay free
    nothing = plan_pools(Machines(16, Counter({"A100": 4}), free_cpus=1.0, free_gpus=Counter()), ["encode"])
    assert (nothing["encode"].size, nothing["encode"].num_cpus) == (1, 0)


@pytest.mark.parametrize("cores", [[1, 1, 1], [1, 2], [2, 2, 2], [8], [4, 4, 1, 1]])
def test_two_whole_cores_stay_free_however_actors_are_spread(cores: list[int]) -> None:
    pools = plan_pools(Machines(float(sum(cores)), nodes=len(cores)), BOTH, sizes={"detect": 3, "encode": 3})
    shares = [pool.num_cpus for pool in pools.values() for _ in range(pool.size)]
    for rotation in range(len(cores)):  # Ray might spread them over the nodes in turn, starting at any
        left = [float(count) for count in cores]
        for number, share in enumerate(shares):
            order = [(number + rotation + step) % len(cores) for step in range(len(cores))]
            node = next(index for index in order if left[index] >= share)
            left[node] -= share
        assert sum(int(free + 1e-9) for free in left) >= 2

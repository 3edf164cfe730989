"""The machines of a cluster, with a fake `nvidia-smi`, so that no GPU is needed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline.cluster import machines
from pipeline.cluster.machines import Gpu, Machines, gpus_of_this_node
from pipeline.errors import QpertError

GIB = 2**30


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_memory_and_capability_of_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "81920, 8.0\n11264, 6.1")
    assert gpus_of_this_node() == [Gpu(80 * GIB, (8, 0)), Gpu(11 * GIB, (6, 1))]


def test_old_drivers_do_not_report_the_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "11264, [N/A]\n[N/A], 7.5")
    assert gpus_of_this_node() == [Gpu(11 * GIB, None), Gpu(None, (7, 5))]


def test_a_missing_or_broken_driver_means_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_of_this_node() == []
    fake_nvidia_smi(
        tmp_path, monkeypatch, "NVIDIA-SMI has failed because it couldn't communicate with the driver.", code=9
    )
    assert gpus_of_this_node() == []


def node(gpus: int, memory: int = 8 * GIB, **labels: str) -> dict[str, Any]:
    resources = {"CPU": 4.0, "memory": float(memory), **({"GPU": float(gpus)} if gpus else {})}
    named = {"ray.io/accelerator-type": labels["kind"]} if "kind" in labels else {}
    size = {"gpu-memory-gib": labels["size"]} if "size" in labels else {}
    return {"Alive": True, "NodeID": f"node-{gpus}", "Resources": resources, "Labels": named | size}


def test_a_cluster_is_the_sum_of_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labelled nodes are not asked. The smallest GPU of a type stands for the type."""
    nodes = [
        node(0),
        node(2, 64 * GIB, kind="A100", size="80"),
        node(2, kind="A100", size="40"),
        node(1, kind="GeForce-GTX-1080-Ti"),
        node(8, kind="H100") | {"Alive": False},
        node(3),
    ]
    asked: list[dict[str, tuple[str, int]]] = []

    def ask(of_node: dict[str, tuple[str, int]]) -> list[tuple[str, Gpu]]:
        asked.append(dict(of_node))
        return [("GeForce-GTX-1080-Ti", Gpu(11 * GIB, (6, 1)))]

    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    free = {"node-2": {"CPU": 3.0, "GPU": 1.5}, "node-1": {"CPU": 0.5, "GPU": 0.5}, "node-3": {"GPU": 3.0}}
    monkeypatch.setattr(ray._private.state, "available_resources_per_node", lambda: free)
    monkeypatch.setattr(machines, "_ask", ask)
    whole = Machines.cluster()
    # Two halves on different nodes are not a whole GPU. (Two of the fake nodes share an id.)
    assert (whole.cpus, whole.free_cpus) == (20, 3.0 + 3.0 + 0.5)
    assert whole.free_gpus == Counter({"A100": 2, "unknown": 3})
    assert whole.gpus == Counter({"A100": 4, "unknown": 3, "GeForce-GTX-1080-Ti": 1})
    assert whole.kinds == {"A100": Gpu(40 * GIB), "GeForce-GTX-1080-Ti": Gpu(11 * GIB, (6, 1))}
    assert asked == [{"node-1": ("GeForce-GTX-1080-Ti", 1), "node-3": ("unknown", 3)}]
    assert sorted(whole.memory) == [8 * GIB] * 4 + [64 * GIB]


def test_nodes_report_their_gpus(ray_cpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a task that reserves no GPU; a node that has died meanwhile reports nothing."""
    (here,) = (alive["NodeID"] for alive in ray.nodes())  # type: ignore[no-untyped-call]
    assert list(machines._ask({here: ("A100", 1)})) == []  # no driver on this machine
    assert list(machines._ask({})) == []
    monkeypatch.setattr(machines, "_PATIENCE", 5.0)
    assert list(machines._ask({"0" * 56: ("A100", 1)})) == []


def test_this_machine() -> None:
    here = Machines.here(3)
    assert here.cpus == 3
    assert here.memory[0] > GIB


def test_gpus_of_this_machine_are_asked_of_torch_where_there_is_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(name="NVIDIA A100", total_memory=80 * GIB, major=8, minor=0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)
    monkeypatch.setattr(machines, "DRIVERS", (str(tmp_path / "none"),))
    assert not Machines.here().gpus
    monkeypatch.setattr(machines, "DRIVERS", (str(tmp_path / "none"), str(tmp_path)))
    assert Machines.here().gpus == {"NVIDIA A100": 2}
    assert Machines.here().kinds == {"NVIDIA A100": Gpu(80 * GIB, (8, 0))}


def test_gpus_of_a_node_with_further_cards_are_unknown(ray_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a workstation with a small card for its screen, which Ray was not given."""
    (here,) = (alive["NodeID"] for alive in ray.nodes())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(machines, "gpus_of_this_node", lambda: [Gpu(80 * GIB, (8, 0)), Gpu(4 * GIB, (7, 5))])
    assert list(machines._ask({here: ("A100", 1)})) == []
    assert list(machines._ask({here: ("A100", 2)})) == [("A100", Gpu(80 * GIB, (8, 0))), ("A100", Gpu(4 * GIB, (7, 5)))]


def test_a_memory_label_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node(1, kind="A100", size="80GiB")])
    with pytest.raises(QpertError, match="gpu-memory-gib=80GiB is not a number of GiB"):
        Machines.cluster()

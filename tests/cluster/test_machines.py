"""What the nodes say of their GPUs; by a stand-in for `nvidia-smi`, as there is none here."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.cluster import machines
from pipeline.cluster.machines import Gpu, Machines, gpus_of_this_node
from pipeline.errors import QpertError

GIB = 2**30


def answer(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_memory_and_capability_of_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(tmp_path, monkeypatch, "81920, 8.0\n11264, 6.1")
    assert gpus_of_this_node() == [Gpu(80 * GIB, (8, 0)), Gpu(11 * GIB, (6, 1))]


def test_an_old_driver_does_not_know_the_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(tmp_path, monkeypatch, "11264, [N/A]\n[N/A], 7.5")
    assert gpus_of_this_node() == [Gpu(11 * GIB, None), Gpu(None, (7, 5))]


def test_no_driver_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_of_this_node() == []
    answer(tmp_path, monkeypatch, "NVIDIA-SMI has failed because it couldn't communicate with the driver.", code=9)
    assert gpus_of_this_node() == []


def node(gpus: int, memory: int = 8 * GIB, **labels: str) -> dict[str, Any]:
    resources = {"CPU": 4.0, "memory": float(memory), **({"GPU": float(gpus)} if gpus else {})}
    named = {"ray.io/accelerator-type": labels["kind"]} if "kind" in labels else {}
    size = {"gpu-memory-gib": labels["size"]} if "size" in labels else {}
    return {"Alive": True, "NodeID": f"node-{gpus}", "Resources": resources, "Labels": named | size}


def test_a_cluster_by_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels go before asking; of a type, what its smallest GPU has."""
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
    found = Machines.cluster()
    # Half GPUs of two nodes are no whole one. (Of the made-up nodes two have the same name.)
    assert (found.cpus, found.free_cpus) == (20, 3.0 + 3.0 + 0.5)
    assert found.free_gpus == Counter({"A100": 2, "unknown": 3})
    assert found.gpus == Counter({"A100": 4, "unknown": 3, "GeForce-GTX-1080-Ti": 1})
    assert found.kinds == {"A100": Gpu(40 * GIB), "GeForce-GTX-1080-Ti": Gpu(11 * GIB, (6, 1))}
    assert asked == [{"node-1": ("GeForce-GTX-1080-Ti", 1), "node-3": ("unknown", 3)}]
    assert sorted(found.memory) == [8 * GIB] * 4 + [64 * GIB]


def test_nodes_are_asked_where_they_are(ray_cpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a task without a GPU; a node that has gone meanwhile says nothing."""
    (here,) = (each["NodeID"] for each in ray.nodes())  # type: ignore[no-untyped-call]
    assert list(machines._ask({here: ("A100", 1)})) == []  # no driver on this machine
    assert list(machines._ask({})) == []
    monkeypatch.setattr(machines, "_PATIENCE", 5.0)
    assert list(machines._ask({"0" * 56: ("A100", 1)})) == []


def test_this_machine() -> None:
    here = Machines.here(3)
    assert here.cpus == 3
    assert here.memory[0] > GIB


def test_a_node_with_other_cards_as_well_is_unknown(ray_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a workstation with a small one for its screen, which Ray was not given."""
    (here,) = (each["NodeID"] for each in ray.nodes())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(machines, "gpus_of_this_node", lambda: [Gpu(80 * GIB, (8, 0)), Gpu(4 * GIB, (7, 5))])
    assert list(machines._ask({here: ("A100", 1)})) == []
    assert list(machines._ask({here: ("A100", 2)})) == [("A100", Gpu(80 * GIB, (8, 0))), ("A100", Gpu(4 * GIB, (7, 5)))]


def test_a_label_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node(1, kind="A100", size="80GiB")])
    with pytest.raises(QpertError, match="gpu-memory-gib=80GiB is no number of GiB"):
        Machines.cluster()

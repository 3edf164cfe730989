"""`cluster.yaml`: Ray's launcher accepts it, and its nodes get what they need."""

from __future__ import annotations

import re
import shlex
from typing import Any

import jsonschema
import pytest

from pipeline.cluster.ray_compat import ACCELERATOR
from tests.cluster.files import (
    A100,
    CUDA_12,
    GTX_1080_TI,
    P100,
    ROOT,
    checked_by_ray,
    checked_by_ray_start,
    cluster,
    put,
    uncommented_lines,
)


def test_ray_accepts_the_cluster() -> None:
    prepared = checked_by_ray(cluster())
    assert prepared["head_node_type"] == "head"
    assert prepared["available_node_types"]["head"]["max_workers"] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("idle_timeout_minuts", 5),
        ("available_node_types/a100/label", {"a": "b"}),
        ("available_node_types/a100/labels", {"a": 1}),
        ("available_node_types/a100/min_workers", "0"),
        ("available_node_types/pascal/worker_setup_command", []),
        ("available_node_types/a100/min_workers", 100),
        ("head_node_type", "heads"),
    ],
)
def test_ray_rejects_mistakes_in_the_cluster(field: str, value: Any) -> None:
    config = cluster()
    put(config, field, value)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        checked_by_ray(config)


def test_numbers_of_workers_are_limited() -> None:
    config = cluster()
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != "head"}
    assert all(kind["min_workers"] == 0 < kind["max_workers"] for kind in workers.values())
    assert sum(kind["max_workers"] for kind in workers.values()) == config["max_workers"]
    assert all(kind["resources"]["GPU"] == 1 for kind in workers.values())
    assert "GPU" not in config["available_node_types"]["head"]["resources"]
    assert {kind["labels"][ACCELERATOR] for kind in workers.values()} == {A100, P100}


@pytest.mark.parametrize(
    ("device", "label"),
    [
        ("NVIDIA A100-SXM4-40GB", A100),
        ("NVIDIA A100-SXM4-80GB", A100),
        ("NVIDIA GeForce GTX 1080 Ti", GTX_1080_TI),
        ("Tesla P100-PCIE-16GB", P100),
    ],
)
def test_gpu_labels_are_those_that_ray_derives(device: str, label: str) -> None:
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    assert NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(device) == label


def test_every_node_type_has_all_setup_commands() -> None:
    """The commands of a node type replace the common ones, so they must repeat them."""
    prepared = checked_by_ray(cluster())
    common, pascal = cluster()["setup_commands"], cluster()["available_node_types"]["pascal"]["worker_setup_commands"]
    assert prepared["worker_setup_commands"] == common
    assert prepared["head_setup_commands"][: len(common)] == common
    assert pascal[:-1] == common[:-1]
    assert [command for command in [*pascal, *common] if "torch" in command] == [pascal[-1], common[-1]]
    assert re.findall(r"(torch|torchvision)==[\d.]+(\S*)", pascal[-1]) == [("torch", CUDA_12), ("torchvision", CUDA_12)]
    assert CUDA_12 not in " ".join(common)
    assert all("-e ~/qpert" in command for command in (pascal[-1], common[-1]))


def test_uploaded_files_exist_and_suffice() -> None:
    mounts = dict(cluster()["file_mounts"])
    token = "~/.ray/auth_token"
    assert mounts.pop(token) == token
    for remote, local in mounts.items():
        assert remote == f"~/qpert/{local}"
        assert (ROOT / local).exists()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for needed in (
        "pyproject.toml",
        "pipeline",
        "jobs",
        *re.findall(r'readme = "(.+)"|license-files = \["(.+)"\]', project),
    ):
        assert ("".join(needed) if isinstance(needed, tuple) else needed) in mounts.values()


def test_every_node_gets_the_token_and_only_its_owner_can_read_it() -> None:
    config = cluster()
    everywhere = [config["setup_commands"], config["available_node_types"]["pascal"]["worker_setup_commands"]]
    assert all("chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token" in commands for commands in everywhere)
    for role in ("head", "worker"):
        start = config[f"{role}_start_ray_commands"][-1]
        assert start.startswith("export RAY_AUTH_MODE=token;")


def test_ray_start_accepts_its_options() -> None:
    config = cluster()
    starts = [config[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")]
    parsed = [checked_by_ray_start(shlex.split(start.partition("ray start")[2])) for start in starts]
    assert [options["head"] for options in parsed] == [True, False]
    assert all(options["dashboard_host"] == "127.0.0.1" for options in parsed)
    assert parsed[0]["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert parsed[0]["disable_usage_stats"], "nothing is sent anywhere"


def test_ray_start_accepts_what_the_documentation_says_to_do_by_hand() -> None:
    lines = uncommented_lines(ROOT / "docs" / "guides" / "clusters.md")
    starts = [line.strip() for line in lines if line.strip().startswith("ray start")]
    parsed = [checked_by_ray_start(shlex.split(start, comments=True)[2:]) for start in starts]
    assert [options["head"] for options in parsed] == [True, False, False]
    assert parsed[0]["disable_usage_stats"]
    assert [options["labels"] for options in parsed[1:]] == [f"{ACCELERATOR}={kind}" for kind in (A100, GTX_1080_TI)]


def test_ray_parses_labels_set_by_hand() -> None:
    from ray._private.label_utils import parse_node_labels_string

    assert parse_node_labels_string(f"{ACCELERATOR}={GTX_1080_TI}") == {ACCELERATOR: GTX_1080_TI}

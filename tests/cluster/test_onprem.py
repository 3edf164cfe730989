"""`cluster-onprem.yaml`: Ray's launcher accepts it, and machines that differ set themselves up by the same commands.

`tests/hosts/test_launch.py` starts it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from pipeline.cluster.ray_compat import ACCELERATOR
from tests.cluster.files import (
    CUDA_12,
    GTX_1080_TI,
    ONPREM,
    checked_by_ray,
    checked_by_ray_start,
    cluster,
    put,
    uncommented_lines,
)


def test_ray_accepts_it_and_starts_every_machine() -> None:
    config = cluster(ONPREM)
    prepared = checked_by_ray(config)
    (node,) = prepared["available_node_types"].values()
    assert node["min_workers"] == node["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head_setup_command", []),
        ("idle_timeout_minuts", 5),
        ("auth/ssh_usr", "ubuntu"),
        ("provider/worker_ips", "192.168.1.11"),
        ("provider", {"type": "local", "head_ip": "192.168.1.10"}),
        ("available_node_types", {"a100": {"node_config": {}, "resources": {}}}),
    ],
)
def test_ray_rejects_mistakes_in_it(field: str, value: Any) -> None:
    config = cluster(ONPREM)
    put(config, field, value)
    with pytest.raises((jsonschema.ValidationError, ValueError, click.ClickException)):
        checked_by_ray(config)


def test_it_differs_from_the_cloud_only_where_the_machines_do() -> None:
    here, cloud = cluster(ONPREM), cluster()
    for part in ("file_mounts", "rsync_exclude"):
        assert here[part] == cloud[part]
    head = [command.replace(" RAY_enable_autoscaler_v2=0", "") for command in here["head_start_ray_commands"]]
    assert head == cloud["head_start_ray_commands"]
    assert head != here["head_start_ray_commands"]
    assert [command in here["setup_commands"] for command in cloud["setup_commands"]] == [True, False, True, True]


def test_ray_start_accepts_its_options() -> None:
    starts = [cluster(ONPREM)[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")]
    options = [start.partition("ray start")[2].partition(" && ")[0] for start in starts]
    parsed = [checked_by_ray_start(shlex.split(words)) for words in options]
    assert [options["head"] for options in parsed] == [True, False]
    assert parsed[0]["dashboard_host"] == "127.0.0.1"
    assert parsed[0]["disable_usage_stats"]


@pytest.mark.parametrize(
    ("cards", "old"),
    [(["6.1"], True), (["8.0", "6.1"], True), (["7.0"], True), (["7.5"], False), (["8.0"], False), ([], False)],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="the launcher runs commands by bash")
def test_each_machine_chooses_torch_by_its_oldest_card(cards: list[str], old: bool, tmp_path: Path) -> None:
    """Run as the launcher does, on a machine with nothing but made-up programs."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    programs = {"venv/bin/pip": f'echo "$@" >> {tmp_path}/asked'}
    if cards:
        programs["nvidia-smi"] = f"printf '%s\\n' {' '.join(cards)}"
    for name, program in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    if not cards and shutil.which("nvidia-smi", path=environment["PATH"]):
        pytest.skip("this machine has a card")
    for command in cluster(ONPREM)["setup_commands"]:
        if "venv/bin/pip" in command:
            words = ["bash", "-c", f"true && ({command})"]
            subprocess.run(words, env=environment, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [CUDA_12 in line for line in asked] == [True, False][not old :]
    assert all("torch==" in line and "torchvision==" in line for line in asked)
    assert "ray==" in asked[-1]


def test_what_an_owner_says_of_a_machine_is_what_ray_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    lines = [line for line in uncommented_lines(ONPREM) if "RAY_OVERRIDE" in line]
    settings = dict(word.split("=", 1) for line in lines for word in shlex.split(line) if word.startswith("RAY_"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert ResourceAndLabelSpec._load_env_labels() == {ACCELERATOR: GTX_1080_TI}
    assert ResourceAndLabelSpec._load_env_resources() == json.loads(settings["RAY_OVERRIDE_RESOURCES"]) == {"GPU": 2}


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (2, 0), (9, 1)])
@pytest.mark.skipif(shutil.which("bash") is None, reason="the launcher runs commands by bash")
def test_a_worker_that_does_not_start_at_once_is_tried_again(failures: int, code: int, tmp_path: Path) -> None:
    """As the launcher runs it, with a `ray` that fails so many times."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    program = f"cd {tmp_path}; echo $1 >> asked; [ $1 = stop ] || [ $(grep -c start asked) -gt {failures} ]"
    for name, text in {"venv/bin/ray": program, "sleep": "true"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", "RAY_HEAD_IP": "192.168.1.10"}
    words = ["bash", "-c", f"true && ({cluster(ONPREM)['worker_start_ray_commands'][-1]})"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == code
    starts = (tmp_path / "asked").read_text().split().count("start")
    assert starts == min(failures + 1, 5)

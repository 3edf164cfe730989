"""The commands that KubeRay makes of our manifest, and that Ray's own parsers take."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.cluster.ray_compat import ACCELERATOR
from tests.cluster.files import A100, GTX_1080_TI, MANIFESTS, checked_by_ray_start, manifest
from tests.hosts import kuberay_commands as kuberay

SPEC = manifest(MANIFESTS[0])["spec"]
GROUPS = {group["labels"][ACCELERATOR]: group for group in SPEC["rayClusterSpec"]["workerGroupSpecs"]}


def test_the_head_runs_services_alone_and_lets_the_submitter_in() -> None:
    command = kuberay.start_command(SPEC["rayClusterSpec"]["headGroupSpec"])
    flags = ["dashboard-agent-listen-port=52365", "dashboard-host=0.0.0.0", "disable-usage-stats"]
    flags += ["memory=17179869184", "metrics-export-port=8080", "no-monitor", "num-cpus=0"]
    start = "".join(f" --{flag} " for flag in ("block", *flags))
    assert command == f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; ray start --head {start}"
    options = checked_by_ray_start(shlex.split(command.partition("ray start")[2]))
    assert (options["head"], options["num_cpus"], options["no_monitor"]) == (True, 0, True)
    assert options["disable_usage_stats"], "nothing is sent anywhere"


@pytest.mark.parametrize(("kind", "cpus", "memory"), [(A100, 12, 64), (GTX_1080_TI, 6, 24)])
def test_workers_have_what_their_limits_say(kind: str, cpus: int, memory: int) -> None:
    command = kuberay.start_command(GROUPS[kind], "head-svc")
    options = checked_by_ray_start(shlex.split(command.partition("ray start")[2]))
    assert (options["num_cpus"], options["num_gpus"], options["memory"]) == (cpus, 1, memory * 2**30)
    assert (options["address"], options["labels"]) == ("head-svc:6379", f"{ACCELERATOR}={kind}")


def test_every_container_of_ray_has_the_token_and_knows_its_head() -> None:
    head = kuberay.environment(SPEC["rayClusterSpec"]["headGroupSpec"], "head", "secret")
    worker = kuberay.environment(GROUPS[A100], "worker", "secret", "head-svc")
    assert (head["RAY_ADDRESS"], worker["RAY_ADDRESS"]) == ("127.0.0.1:6379", "head-svc:6379")
    for variables in (head, worker):
        assert (variables["RAY_AUTH_MODE"], variables["RAY_AUTH_TOKEN"]) == ("token", "secret")
        assert variables["HF_HOME"].startswith("/data/")


@pytest.mark.skipif(shutil.which("bash") is None, reason="KubeRay runs commands by bash")
def test_a_job_is_submitted_once_however_often_its_submitter_runs(tmp_path: Path) -> None:
    """With a `ray` that only remembers."""
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "ray").write_text(
        f"#!/bin/sh\ncd {tmp_path}; echo $* >> asked\n"
        '[ "$2" = submit ] && touch submitted; [ "$2" != status ] || [ -e submitted ]\n'
    )
    for name in ("python", "ray"):
        (tmp_path / name).chmod(0o755)
    command = kuberay.submit_command(SPEC["entrypoint"], "head-svc", "one")
    for _ in range(2):
        subprocess.run(["/bin/bash", "-ce", "--", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[1] for line in asked] == ["status", "submit", "logs", "status", "logs"]
    assert asked[1].endswith(f"--submission-id one -- {SPEC['entrypoint'].strip()}")

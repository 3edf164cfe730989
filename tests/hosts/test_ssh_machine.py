"""Machines that are reached by SSH have a home, software and a GPU of their own, and leave this one's alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hosts import namespaces
from tests.hosts.fake_gpu import GTX_1080_TI
from tests.hosts.namespaces import Host, Network
from tests.hosts.ssh_machine import KEY, environment, furnish, make_key, missing, serve_ssh

WHY_NOT = namespaces.missing() or missing()
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]
GPUS = "from pipeline.cluster.machines import gpus_of_this_node; print(gpus_of_this_node()); "
DEVICE = "from pipeline.workers.device import this_device; print(this_device(True).name, this_device(True).dtype())"


@pytest.fixture(scope="module")
def desk_and_machine() -> Iterator[tuple[Host, Host]]:
    with Network() as network:
        desk, machine = network.add("desk"), network.add("machine")
        key = make_key(network)
        furnish(network, desk, key)
        furnish(network, machine, key, GTX_1080_TI)
        serve_ssh(network, machine)
        yield desk, machine


def ssh(desk: Host, machine: Host, command: str) -> str:
    """As the launcher does it."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    words = ["ssh", "-tt", "-i", KEY, *options, f"root@{machine.address}", "bash", "--login", "-c", "-i"]
    for _ in range(50):
        with suppress(RuntimeError):  # the server has just been started
            return desk.run([*words, f"'source ~/.bashrc; {command}'"], env=environment())
        time.sleep(0.1)
    raise AssertionError("no answer by SSH")


def test_it_is_reached_by_its_key_and_has_its_own_home(desk_and_machine: tuple[Host, Host]) -> None:
    name, *files = ssh(*desk_and_machine, "hostname; ls -A ~").split()
    assert name == "machine"
    assert {".bashrc", ".ssh", "venv"} <= {*files} <= {".bashrc", ".cache", ".config", ".pyenv", ".ssh", "fake", "venv"}


def test_what_is_written_there_stays_there(desk_and_machine: tuple[Host, Host]) -> None:
    desk, machine = desk_and_machine
    ssh(desk, machine, "touch ~/venv/written-there ~/written-there /srv/seen-by-all")
    assert desk.run(["sh", "-c", "ls ~ ~/venv/ /srv"]).split().count("written-there") == 0
    assert "seen-by-all" in desk.run(["ls", "/srv"]).split()
    assert not (Path(sys.prefix) / "written-there").exists()
    assert not Path("/root/written-there").exists()
    assert not Path("/srv/seen-by-all").exists()


def test_its_gpu_is_made_up(desk_and_machine: tuple[Host, Host]) -> None:
    desk, machine = desk_and_machine
    said = ssh(desk, machine, f'cd {namespaces.ROOT}; ~/venv/bin/python -c "{GPUS}{DEVICE}"')
    assert "Gpu(memory=11811160064, capability=(6, 1))" in said
    assert "cuda:GeForce-GTX-1080-Ti float32" in said
    labels, resources = ssh(desk, machine, "printenv RAY_OVERRIDE_LABELS RAY_OVERRIDE_RESOURCES").splitlines()
    assert (labels, resources) == ('{"ray.io/accelerator-type": "GeForce-GTX-1080-Ti"}', '{"GPU": 1}')

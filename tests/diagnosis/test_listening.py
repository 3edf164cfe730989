from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.diagnosis.listening import Listener, check_listeners, ray_listeners

LISTEN = """
import socket, sys, time
places = [socket.create_server((address, 0)) for address in ("127.0.0.1", "0.0.0.0")]
print(*[place.getsockname()[1] for place in places], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_which_addresses_other_machines_reach(address: str, local: bool) -> None:
    assert Listener("raylet", 1, address, 1).is_loopback is local


def test_nothing_listens() -> None:
    (finding,) = check_listeners([])
    assert finding.state == "ok"


def test_sockets_that_others_reach_are_warned_about() -> None:
    local, other = check_listeners(
        [
            Listener("gcs_server", 8, "0.0.0.0", 6379),
            Listener("gcs_server", 8, "::", 6380),
            Listener("raylet", 7, "127.0.0.1", 1000),
            Listener("worker", 9, "10.0.0.1", 2000),
        ]
    )
    assert (local.state, local.name, local.text) == ("ok", "loopback only", "raylet 127.0.0.1:1000")
    assert (other.state, other.name) == ("warning", "open to other machines")
    assert other.text.startswith("gcs_server 0.0.0.0:6379, [::]:6380; worker 10.0.0.1:2000; ")
    assert "ray stop" in other.remedy


def test_processes_of_ray_are_found(tmp_path: Path) -> None:
    """A stand-in with the name of a worker, and a process that is none of Ray's."""
    script = tmp_path / "listen.py"
    script.write_text(LISTEN)
    processes = [
        subprocess.Popen([name, *words], executable=sys.executable, stdout=subprocess.PIPE, text=True)
        for name, words in (("ray::IDLE", [str(script)]), ("other", [str(script)]))
    ]
    try:
        ports = {}
        for process in processes:
            assert process.stdout is not None
            ports[process.pid] = [int(port) for port in process.stdout.readline().split()]
        found = {(listener.pid, listener.port): listener for listener in ray_listeners()}
        worker, other = (process.pid for process in processes)
        local, everywhere = (found[worker, port] for port in ports[worker])
        assert (local.process, local.is_loopback, everywhere.is_loopback) == ("worker", True, False)
        assert not any((other, port) in found for port in ports[other])
    finally:
        for process in processes:
            process.kill()
            process.wait()

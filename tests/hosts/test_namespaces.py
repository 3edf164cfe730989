"""Hosts in namespaces are apart, lose their links and their power, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.hosts.namespaces import FOLDER, ROOT, Host, Network, missing, sweep

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture
def network() -> Iterator[Network]:
    """Without hosts."""
    with Network() as network:
        yield network


def reaches(host: Host, address: str) -> bool:
    """Whether a packet gets there and back: a refusal is an answer."""
    code = "import socket, sys; s = socket.socket(); s.settimeout(1); sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)"
    with suppress(RuntimeError):
        host.run([sys.executable, "-c", code, address])
        return True
    return False


def test_hosts_share_files_but_no_name_memory_or_processes(network: Network) -> None:
    one, two = network.add("one"), network.add("two")
    here = socket.gethostname()
    for host in (one, two):
        assert host.run(["hostname"]).strip() == host.name
        assert os.listdir("/tmp") != []
        assert host.run(["ls", "/tmp"]) == ""
    one.run(["sh", "-c", f"touch /tmp/file /dev/shm/file {network.folder}/file"])
    assert two.run(["sh", "-c", f"ls /tmp /dev/shm {network.folder}"]).split().count("file") == 1
    assert not Path("/dev/shm/file").exists()
    assert (network.folder / "file").exists()
    assert len(one.run(["sh", "-c", "echo /proc/[0-9]*"]).split()) == 2  # the first, and sh
    assert socket.gethostname() == here


def test_hosts_listen_on_their_own_addresses_and_know_names(network: Network) -> None:
    one, two = network.add("one"), network.add("two")
    serve = "import socket; s = socket.create_server(('', 80)); print(flush=True); s.accept()[0].send(b'%s')"
    for host in (one, two):  # the same port on both
        server = host.popen([sys.executable, "-c", serve % host.name], stdout=subprocess.PIPE)
        server.stdout.readline()
    ask = "import socket; print(socket.create_connection(('two', 80), 5).recv(9).decode())"
    assert one.run([sys.executable, "-c", ask]).strip() == "two"
    with socket.create_connection((one.address, 80), 5) as connection:
        assert connection.recv(9) == b"one"


def test_threads_add_hosts_of_their_own(network: Network) -> None:
    with ThreadPoolExecutor() as pool:
        hosts = list(pool.map(lambda _: network.add(), range(4)))
    assert len({host.address for host in hosts}) == 4
    assert all(reaches(hosts[0], host.address) for host in hosts)


def test_a_link_is_cut_and_restored(network: Network) -> None:
    one, two, three = (network.add() for _ in range(3))
    assert reaches(one, two.address)
    assert reaches(one, network.address)
    two.cut()
    assert not reaches(one, two.address)
    assert not reaches(two, network.address)
    assert reaches(one, three.address)
    two.restore()
    assert reaches(one, two.address)


def test_a_killed_host_takes_its_processes_along(network: Network) -> None:
    one, two = network.add(), network.add()
    sleeper = one.popen(["sleep", "1000"])
    one.run(["sh", "-c", "setsid sleep 1000 > /dev/null 2>&1 &"])
    end = time.monotonic() + 20
    while len(sleepers := [process for process in one.processes() if process.name() == "sleep"]) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    one.kill()
    assert sleeper.wait(10) != 0
    assert psutil.wait_procs(sleepers, 10)[1] == []
    assert not reaches(two, one.address)
    assert reaches(two, network.add().address)


def test_killing_a_command_kills_it_on_the_host(network: Network) -> None:
    host = network.add()
    sleeper = host.popen(["sleep", "1000"])
    while not (found := [each for each in host.processes() if each.name() == "sleep"]):
        time.sleep(0.01)
    sleeper.kill()
    assert psutil.wait_procs(found, 10)[1] == []


def test_a_failing_command_says_where_and_why(network: Network) -> None:
    with pytest.raises(RuntimeError, match=r"exit code 2 on host1 of ls /no/such: .*No such file"):
        network.add().run(["ls", "/no/such"])


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_process_that_made_it(ending: signal.Signals) -> None:
    code = (
        "from tests.hosts.namespaces import Network\nwith Network() as network:\n host = network.add()\n"
        " host.popen(['sleep', '1000'])\n print(host.pid, network.bridge, flush=True)\n input()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=-1, stdout=-1, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as maker:
        first, bridge = maker.stdout.readline().split()  # type: ignore[union-attr]
        host = psutil.Process(int(first))
        maker.send_signal(ending)
        maker.wait(20)
    assert psutil.wait_procs([host], 10)[1] == []
    sweep()
    assert subprocess.run(["ip", "link", "show", bridge], capture_output=True).returncode != 0
    assert not (FOLDER / f"qpert-hosts-{maker.pid}").exists()

"""A Ray cluster on hosts of their own: a head that takes jobs with a token, a host for drivers, and workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.hosts.namespaces import ROOT, Host, Network

BIN = Path(sys.executable).parent
STORE = 100 * 2**20
DRIVER = "driver"
"""A resource of the host that runs the drivers of jobs."""
SLOW = {
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_worker_niceness": "0",
}
"""Patience of Ray with a machine that has more to do."""
NAMES = ("metrics-export", "dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent")
PORTS = dict(zip(NAMES, range(8090, 8094), strict=True))
TRIES = 3
"""To start Ray on a host: a raylet ends itself where its agents are not up within 15 s, as on a busy machine."""


class RayHosts:
    """Hosts in `network` on which Ray runs, with `env` added to the environment of its processes, jobs included.

    The token that all of them share is in a file that they share too. Output of `ray start` is in NAME.log beside it.
    """

    def __init__(self, network: Network, env: Mapping[str, str] | None = None) -> None:
        self.network = network
        token = network.folder / "token"
        token.write_text("0123456789abcdef" * 4)
        token.chmod(0o600)
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.env = {"PATH": path, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **SLOW, **(env or {})}
        self.env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.starts: dict[str, tuple[list[str], dict[str, str]]] = {}
        self.head = network.add("head")
        self.address, self.dashboard = f"{self.head.address}:6379", f"http://{self.head.address}:8265"

    def start_head(self, cpus: int = 0, *, jobs: bool = True) -> None:
        """Start the head; one that takes `jobs` has a dashboard for that."""
        words = ["--head", "--port=6379", f"--include-dashboard={str(jobs).lower()}", "--dashboard-host=0.0.0.0"]
        self._start(self.head, [*words, *_capacity(cpus, 0, {}, {})])

    def start(
        self,
        host: Host,
        cpus: int,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        *,
        address: str | None = None,
        env: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        """Make a host a node; `address` is that of a proxy before the head, if there is one."""
        words = [f"--address={address or self.address}", *_capacity(cpus, gpus, labels or {}, resources or {})]
        self._start(host, words, env)

    def restart(self, host: Host) -> None:
        """End all that runs on a host, and start Ray as it was."""
        _kill_all(host)
        words, env = self.starts[host.name]
        self._start(host, words, env)

    def _start(self, host: Host, words: list[str], env: Mapping[str, str] | None = None) -> None:
        self.starts[host.name] = words, dict(env or {})
        command = [str(BIN / "ray"), "start", f"--node-ip-address={host.address}", *words]
        command += [f"--object-store-memory={STORE}", *(f"--{name}-port={port}" for name, port in PORTS.items())]
        log = self.network.folder / f"{host.name}.log"
        for _ in range(TRIES):
            with log.open("a") as file:  # no pipe: the daemons would keep it open
                how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
                code = host.popen(command, self.env | dict(env or {}), **how).wait(300)
            if code == 0 and self.runs_on(host):
                return
            _kill_all(host)
        raise RuntimeError(f"Ray does not start on {host.name}: {log.read_text()[-3000:]}")

    def runs_on(self, host: Host) -> bool:
        """Whether a raylet does."""
        return host.alive and any(_name(process) == "raylet" for process in host.processes())

    def has(self, host: Host) -> bool:
        """Whether the head counts it among the nodes that are alive."""
        headers = {"Authorization": f"Bearer {(self.network.folder / 'token').read_text()}"}
        answer = httpx.get(f"{self.dashboard}/nodes?view=summary", headers=headers, timeout=60)
        nodes = answer.raise_for_status().json()["data"]["summary"]
        return any(node.get("ip") == host.address and node["raylet"].get("state") == "ALIVE" for node in nodes)

    def wait_for_jobs(self, seconds: float = 240) -> None:
        """Until the head takes jobs."""
        end = time.monotonic() + seconds
        while self.job("list").returncode:
            if time.monotonic() > end:
                raise RuntimeError(f"the head takes no jobs, see {self.network.folder}")
            time.sleep(1)

    def job(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray job WORDS`, from this machine's own network."""
        command = [str(BIN / "ray"), "job", words[0], "--address", self.dashboard, *words[1:]]
        return subprocess.run(command, env=self._client(), cwd=ROOT, capture_output=True, text=True, timeout=400)

    def submit(self, name: str, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """`python -m jobs WORDS` as a job on the host for drivers, if there is one; ends with it."""
        where = ["--entrypoint-resources", json.dumps({DRIVER: 0.01})] if DRIVER in self.starts else []
        command = [str(BIN / "ray"), "job", "submit", "--address", self.dashboard, "--submission-id", name, *where]
        command += ["--working-dir", ".", "--", "python", "-m", "jobs", *words]
        with log.open("ab") as file:
            return subprocess.Popen(command, env=self._client(), cwd=ROOT, stdout=file, stderr=file)

    def _client(self) -> dict[str, str]:
        return {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"} | self.env


def shifted_clock(minutes: float) -> dict[str, str]:
    """Environment of processes whose clocks are so far ahead, by libfaketime (Debian's faketime).

    All their clocks are: time namespaces would leave the one of the day, which is what logs and stores are told.
    """
    for library in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        return {"LD_PRELOAD": str(library), "FAKETIME": f"{60 * minutes:+.0f}"} if minutes else {}
    if minutes:
        raise RuntimeError("clocks that are apart need libfaketime: apt-get install faketime")
    return {}


def start_cluster(
    network: Network,
    workers: int,
    cpus: int = 2,
    env: Mapping[str, str] | None = None,
    *,
    skew: float = 0.0,
    worsen: Callable[[Host], object] | None = None,
) -> tuple[RayHosts, Host, list[Host]]:
    """A head without CPUs, a host for drivers, and workers.

    The first worker is `skew` minutes ahead, and `worsen` does to it what it does before Ray runs there.
    """
    cluster = RayHosts(network, env)
    cluster.start_head()
    driver, hosts = network.add(DRIVER), [network.add() for _ in range(workers)]
    if worsen is not None:
        worsen(hosts[0])
    with ThreadPoolExecutor() as pool:
        clocks = [shifted_clock(skew), *[{}] * (workers - 1)]
        begun = [pool.submit(cluster.start, host, cpus, env=clock) for host, clock in zip(hosts, clocks, strict=True)]
        begun.append(pool.submit(cluster.start, driver, 0, resources={DRIVER: 1}))
        try:
            for each in begun:
                each.result()
        except BaseException:
            network.close()  # else the pool waits for what is not to start any more
            raise
    cluster.wait_for_jobs()
    return cluster, driver, hosts


def roles_on(hosts: Sequence[Host], roles: Mapping[str, str]) -> list[tuple[str, psutil.Process]]:
    """The processes of Ray workers that are at one of these roles now, by a part of their titles."""
    found = []
    for process in [process for host in hosts if host.alive for process in host.processes()]:
        with suppress(psutil.Error, IndexError):
            title = process.cmdline()[0]
            found += [(role, process) for role in roles if title.startswith("ray::") and roles[role] in title]
    return sorted(found, key=lambda each: int(each[1].pid))


def wait_until_open(address: tuple[str, int], seconds: float = 60) -> None:
    """Until something listens there."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(address, 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _capacity(cpus: int, gpus: int, labels: Mapping[str, str], resources: Mapping[str, float]) -> list[str]:
    words = [f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--resources={json.dumps(resources)}"]
    return [*words, f"--labels={','.join(f'{name}={text}' for name, text in labels.items())}"] if labels else words


def _kill_all(host: Host) -> None:
    for process in host.processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name())
    return ""

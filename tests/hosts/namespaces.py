"""Hosts of their own on this machine: each with its own network, name, processes, /tmp and /dev/shm.

    with Network() as network:
        head, worker = network.add("head"), network.add("worker")
        print(head.run(["ip", "addr"]))
        server = worker.popen(["python", "-m", "http.server"])
        worker.cut()  # its link; `worker.restore()`
        worker.kill()  # its plug

A host is a set of namespaces that a process holds open, its process 1: with it ends everything that runs there. It ends
with this process too, however that ends, as it reads from a pipe of it. What is left then, a bridge and a folder, bears
this process's number and is swept away by the next `Network`. All other files are those of this machine, as on NFS.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
PRIVATE = ("/tmp", "/dev/shm")
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount")
BRIDGE, FOLDER = "qpert", Path("/var/tmp")
LOCK = FOLDER / "qpert-hosts.lock"
HOLD = "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print('up', flush=True); os.read(0, 1)"
"""Process 1 of a host: reaps orphans, and ends when the other end of the pipe is closed."""


def missing() -> str | None:
    """Why no hosts can be made here; None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts in network namespaces need Linux and root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"hosts in network namespaces need {', '.join(absent)}: install iproute2 and util-linux"
    links = "ip link add qb type bridge && ip link add va type veth peer name vb"
    trial = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "sh", "-c", links]
    tried = subprocess.run(trial, capture_output=True, text=True)
    return f"hosts in network namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


class Host:
    """One of a `Network`. `address` is its IPv4 address, `name` its hostname, which the others resolve."""

    def __init__(self, name: str, address: str, port: str, bridge: str, holder: subprocess.Popen[Any]) -> None:
        self.name, self.address, self.alive = name, address, True
        self._port, self._bridge, self._holder = port, bridge, holder
        self.pid = psutil.Process(holder.pid).children()[0].pid

    def popen(
        self, words: Sequence[str | Path], env: Mapping[str, str] | None = None, **how: Any
    ) -> subprocess.Popen[Any]:
        """Start a command there; `kill` of what is returned kills it. `env` is added to this process's."""
        enter = [
            "nsenter",
            "--target",
            str(self.pid),
            "--uts",
            "--net",
            "--mount",
            "--pid",
            f"--wdns={how.pop('cwd', ROOT)}",
        ]
        command = [*enter, "--", "setpriv", "--pdeathsig", "KILL", "--", *map(str, words)]
        return subprocess.Popen(command, env={**os.environ, **(env or {})}, **how)

    def run(
        self, words: Sequence[str | Path], timeout: float = 120, env: Mapping[str, str] | None = None, **how: Any
    ) -> str:
        """What a command says there; its error output is in the message where it fails."""
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **how}
        with self.popen(words, env, stdin=subprocess.DEVNULL, **both) as process:
            try:
                said: str = process.communicate(timeout=timeout)[0]
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            command = " ".join(map(str, words))
            raise RuntimeError(f"exit code {process.returncode} on {self.name} of {command}: {said[-3000:]}")
        return said

    def processes(self) -> list[psutil.Process]:
        """All that run there now but the first, oldest first."""
        here, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for process in psutil.process_iter():
            with suppress(OSError):
                if process.pid != self.pid and os.readlink(f"/proc/{process.pid}/ns/pid") == here:
                    found.append(process)
        return found

    def cut(self) -> None:
        """Take its cable off the bridge: packets vanish, nothing is told."""
        _ip("link", "set", self._port, "nomaster")

    def restore(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._port, "master", self._bridge)

    def kill(self) -> None:
        """As if its power failed: every process there ends at once, and its network with them."""
        self.alive = False
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._holder.wait(60)
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()


class Network:
    """A bridge, with this process at `address`, and hosts on it at the next ones.

    Attributes:
        folder: seen by all hosts at the same path, as on NFS; removed in the end.
        hosts: all that were added and not killed by `close`.
    """

    def __init__(self, private: Sequence[str] = PRIVATE) -> None:
        if reason := missing():
            raise RuntimeError(reason)
        self._adding = threading.Lock()
        self.private, self.hosts, self.bridge = private, list[Host](), f"{BRIDGE}{os.getpid()}"
        self.folder = FOLDER / f"{BRIDGE}-hosts-{os.getpid()}"
        with _alone():
            sweep()
            if self.folder.exists():
                raise RuntimeError("this process has a network already: close it first")
            used = _ip("-4", "addr").split()
            self.prefix = next(each for n in range(256) if f"{(each := f'10.77.{n}')}.254/24" not in used)
            self.address = f"{self.prefix}.254"
            self.folder.mkdir()
            _ip("link", "add", self.bridge, "type", "bridge")
            _ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} bridge\n")
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # refuses at once

    def add(self, name: str | None = None) -> Host:
        """A new host; it can be added while others run, which then resolve its name as well. Threads take turns."""
        with self._adding:
            return self._add(name)

    def _add(self, name: str | None) -> Host:
        number = len(self.hosts) + 1
        name, address, port = name or f"host{number}", f"{self.prefix}.{number}", f"qv{number}x{os.getpid()}"
        with (self.folder / "hosts").open("a") as file:
            file.write(f"{address} {name}\n")
        mounts = [f"mount -t tmpfs tmpfs {path}" for path in self.private]
        mounts += [f"mount --bind {self.folder / file} /etc/{file}" for file in ("hosts", "resolv.conf")]
        begin = ["set -e", f"hostname {name}", *mounts, "ip link set lo up", 'exec "$@"']
        spaces = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        hold = ["sh", "-c", "\n".join(begin), f"qpert-host-{os.getpid()}", sys.executable, "-S", "-E", "-c", HOLD]
        pipe = subprocess.PIPE
        how: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, "start_new_session": True}
        holder = subprocess.Popen([*spaces, *hold], **how)
        if holder.stdout is None or holder.stdout.readline() != "up\n":
            raise RuntimeError(f"host {name} did not come up: {holder.communicate()[1].strip()}")
        host = Host(name, address, port, self.bridge, holder)
        self.hosts.append(host)
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        _ip("link", "set", port, "master", self.bridge, "up")
        for words in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            host.run(["ip", *words])
        host.run(["ip", "route", "add", "default", "via", self.address])  # leads nowhere, but programs look for one
        return host

    def close(self) -> None:
        """Kill all hosts and remove what they shared."""
        for host in self.hosts:
            if host.alive:
                host.kill()
        self.hosts = []
        _remove(self.bridge, self.folder)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def sweep() -> None:
    """Remove the networks whose processes are gone; their hosts have ended with them."""
    for folder in FOLDER.glob(f"{BRIDGE}-hosts-*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            _remove(f"{BRIDGE}{owner}", folder)


def _remove(bridge: str, folder: Path) -> None:
    """The folder goes last, as it is what `sweep` looks for."""
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str) -> str:
    """What iproute2 says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time chooses addresses and sweeps."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

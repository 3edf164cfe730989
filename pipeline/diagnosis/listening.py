"""On which addresses this user's Ray processes listen, and whether other machines can reach them."""

from __future__ import annotations

import ipaddress
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from pipeline.diagnosis.finding import Finding

TOPIC = "listening"
_SERVERS = ("gcs_server", "raylet")


@dataclass(frozen=True)
class Listener:
    """A socket that accepts connections.

    Attributes:
        process: what a person would call the process.
        pid: its number.
        address: of the socket, such as "127.0.0.1".
        port: of the socket.
    """

    process: str
    pid: int
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)


def ray_listeners() -> list[Listener]:
    """All TCP sockets on which Ray's processes of this user listen, those of drivers included."""
    listeners = []
    for process in _ray_processes():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:  # it has ended, or belongs to somebody else
            continue
        name = _name(process)
        listeners += [
            Listener(name, process.pid, connection.laddr.ip, connection.laddr.port)
            for connection in connections
            if connection.status == psutil.CONN_LISTEN
        ]
    return sorted(set(listeners), key=lambda listener: (listener.process, listener.pid, listener.port))


def check_listeners(listeners: Iterable[Listener]) -> list[Finding]:
    """A line for the sockets that only this machine reaches, and one for those that others reach."""
    listeners = list(listeners)
    if not listeners:
        return [Finding(TOPIC, "Ray", "ok", "no Ray process of this user listens")]
    local = [listener for listener in listeners if listener.is_loopback]
    others = [listener for listener in listeners if not listener.is_loopback]
    findings = []
    if local:
        findings.append(Finding(TOPIC, "loopback only", "ok", _by_process(local)))
    if others:
        said = f"{_by_process(others)}; unless a firewall is in between"
        remedy = "ray stop, if you need no cluster; else RAY_AUTH_MODE=token on all nodes, in a private network"
        findings.append(Finding(TOPIC, "open to other machines", "warning", said, remedy))
    return findings


def _by_process(listeners: Iterable[Listener]) -> str:
    """Such as "gcs_server [::]:6379; worker 127.0.0.1:1, 127.0.0.1:2"."""
    places: dict[str, list[str]] = defaultdict(list)
    for listener in listeners:
        address = f"[{listener.address}]" if ":" in listener.address else listener.address
        places[listener.process].append(f"{address}:{listener.port}")
    return "; ".join(f"{process} {', '.join(addresses)}" for process, addresses in places.items())


def _ray_processes() -> list[psutil.Process]:
    """Ray's own processes, its workers, and the drivers that started them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid() or not _is_ray(process):
                continue
            found[process.pid] = process
            parent = process.parent()
            if parent is not None and parent.pid != 1 and process.name() in _SERVERS:
                found[parent.pid] = parent
        except psutil.Error:
            continue
    return list(found.values())


def _is_ray(process: psutil.Process) -> bool:
    words = process.cmdline()
    first = words[0] if words else ""
    scripts = any(f"{os.sep}site-packages{os.sep}ray{os.sep}" in word for word in words[:4])
    return process.name() in _SERVERS or first.startswith("ray::") or scripts


def _name(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
        name = process.name()
    except psutil.Error:
        return "process"
    if name in _SERVERS or not words:
        return name
    if words[0].startswith("ray::"):
        return "worker"
    script = next((word for word in words[1:4] if word.endswith(".py")), "")
    return os.path.basename(script) or name

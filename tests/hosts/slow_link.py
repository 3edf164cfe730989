"""A bad link: all TCP of a host, in and out, passes a `Proxy` there that is late and breaks connections.

    link = SlowLink(host, delay=0.05, drop=0.2)
    cluster.start(host, 2)
    print(link.counts())

Needs iptables. Connections that are there already stay as they are, so it comes before anything that is started there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.hosts.namespaces import Host
from tests.hosts.proxy import Proxy

MARK = 7
"""Of the packets that the proxy sends, which are not sent to it again."""
BREAKS_WITHIN = 20_000
"""Bytes after which a connection that breaks has done so."""


def missing() -> str | None:
    """Why there are no bad links here."""
    return None if shutil.which("iptables") else "bad links need iptables: apt-get install iptables"


class SlowLink:
    """Makes the link of `host` bad until the host ends: data late by `delay` seconds, a share `drop` of breaks."""

    def __init__(self, host: Host, *, delay: float, drop: float) -> None:
        words = [sys.executable, "-m", "tests.hosts.slow_link", host.address, str(delay), str(drop)]
        process = host.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdin is None or process.stdout is None or not (port := process.stdout.readline().strip()):
            raise RuntimeError(f"the proxy of {host.name} did not start")
        self.host, self._asked, self._said = host, process.stdin, process.stdout
        for rule in _rules(host.address, port):
            host.run(["iptables", "-t", "nat", "-A", *rule])

    def counts(self) -> tuple[int, int]:
        """Connections so far, and those of them that were broken."""
        self._asked.write("\n")
        self._asked.flush()
        connections, broken = map(int, self._said.readline().split())
        return connections, broken


def _rules(own: str, port: str) -> list[Sequence[str]]:
    tcp, away = ("-p", "tcp"), ("-j", "REDIRECT", "--to-ports", port)
    return [
        ("OUTPUT", *tcp, "-m", "mark", "--mark", str(MARK), "-j", "RETURN"),
        ("OUTPUT", *tcp, "-d", own, "-j", "RETURN"),
        ("OUTPUT", *tcp, "-o", "eth0", *away),
        ("PREROUTING", *tcp, "-i", "eth0", *away),
    ]


def main() -> None:
    """Runs the proxy; says its port, and the counts for each line that it reads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("delay", type=float)
    parser.add_argument("drop", type=float)
    words = parser.parse_args()
    proxy = Proxy(None, "0.0.0.0", delay=words.delay, drop=words.drop, within=BREAKS_WITHIN, mark=MARK)
    print(proxy.address[1], flush=True)
    for _ in sys.stdin:
        print(proxy.connections, proxy.dropped, flush=True)


if __name__ == "__main__":
    main()

"""A host with a bad link hears and says everything late, whoever calls whom."""

from __future__ import annotations

import sys
import time

import pytest

from tests.hosts import namespaces, slow_link
from tests.hosts.namespaces import Host, Network
from tests.hosts.ray_hosts import wait_until_open
from tests.hosts.slow_link import BREAKS_WITHIN, SlowLink

absent = namespaces.missing() or slow_link.missing()
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(absent is not None, reason=str(absent))]
FETCH = "import sys, urllib.request as r; print(len(r.urlopen(sys.argv[1], timeout=20).read()))"


def fetch(here: Host, there: Host) -> float:
    """Seconds to fetch a page, without the start of Python."""
    begun = time.monotonic()
    here.run([sys.executable, "-c", "0"])
    empty = time.monotonic() - begun
    begun = time.monotonic()
    assert int(here.run([sys.executable, "-c", FETCH, f"http://{there.address}:8000/"])) > 0
    return time.monotonic() - begun - empty


def test_all_connections_are_late_in_both_directions() -> None:
    with Network() as network:
        bad, good, third = (network.add() for _ in range(3))
        link = SlowLink(bad, delay=1.0, drop=0.0)
        for host in (bad, good):
            host.popen([sys.executable, "-m", "http.server", "--bind", host.address, "8000"], cwd="/tmp")
            wait_until_open((host.address, 8000))
        before = link.counts()[0]
        assert fetch(bad, good) >= 2  # there and back
        assert fetch(good, bad) >= 2
        assert link.counts() == (before + 2, 0)
        assert fetch(third, good) < 2


def test_some_connections_break() -> None:
    with Network() as network:
        bad, good = network.add(), network.add()
        link = SlowLink(bad, delay=0.0, drop=1.0)
        (network.folder / "index.html").write_bytes(bytes(2 * BREAKS_WITHIN))
        good.popen([sys.executable, "-m", "http.server", "--bind", good.address, "8000"], cwd=network.folder)
        wait_until_open((good.address, 8000))
        with pytest.raises(RuntimeError, match=r"reset|Incomplete|closed"):
            fetch(bad, good)
        assert link.counts() == (1, 1)

"""The run over made-up GPUs of several kinds, each on a host of its own: `tests.end_to_end.mixed_gpus` on hosts.

    python -m tests.hosts.mixed_gpus 600
    python -m tests.hosts.mixed_gpus 160 join        # a host with a second "A100" joins while the run is on

Needs root. Prints what that script prints; the driver is on the head.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pipeline.cluster.machines import GPU_MEMORY
from pipeline.cluster.ray_compat import ACCELERATOR
from tests.end_to_end.mixed_gpus import NODES, written
from tests.hosts.namespaces import Network
from tests.hosts.ray_hosts import RayHosts


def add_host(cluster: RayHosts, kind: str) -> None:
    """With one GPU."""
    labels = {ACCELERATOR: kind, GPU_MEMORY: str(NODES[kind][1])}
    cluster.start(cluster.network.add(), 1, 1, labels)


def main(photos: str, *, joins: bool) -> int:
    """The exit code of the script on the head."""
    kinds = ["A100"] if joins else [kind for kind, (count, _) in NODES.items() for _ in range(count)]
    with Network() as network:
        cluster = RayHosts(network)
        cluster.start_head(4, jobs=False)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda kind: add_host(cluster, kind), kinds))
        words = [sys.executable, "-m", "tests.end_to_end.mixed_gpus", photos, *(["join"] if joins else [])]
        words += ["--address", cluster.address, "--folder", str(network.folder)]
        driver: subprocess.Popen[bytes] = cluster.head.popen(words, cluster.env)
        while joins and driver.poll() is None:
            if any(written(folder) for folder in network.folder.glob("tmp*")):
                add_host(cluster, "A100")
                break
            time.sleep(0.5)
        return driver.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with what is to be removed
    raise SystemExit(main(sys.argv[1], joins="join" in sys.argv[2:]))

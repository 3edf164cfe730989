"""`cluster-onprem.yaml` really run: a head, an A100 and a 1080 Ti, started, used and stopped as its first lines say.

    python -m tests.hosts.launch                # needs root; prints a transcript with times

The machines are hosts in namespaces that a desk reaches by SSH alone. Changed in the file are the addresses, the user
and torch's versions, as there is no package index: what is installed here is taken. The GPUs are made up.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from ray.autoscaler.tags import TAG_RAY_NODE_STATUS

from pipeline.datasets.scenes import write_scenes
from tests.hosts.fake_gpu import A100, GTX_1080_TI
from tests.hosts.namespaces import ROOT, Host, Network
from tests.hosts.ssh_machine import SHARED, environment, furnish, make_key, serve_ssh

FILE = ROOT / "cluster-onprem.yaml"
BIN = Path(sys.prefix) / "bin"
PHOTOS, FEATURES = f"{SHARED}/qpert/photos", f"{SHARED}/qpert/features"
TOKEN = "launch" * 8
STATE = "/tmp/ray/cluster-qpert-onprem.state"
"""Of the provider `local`, on the head."""


def installed(command: str) -> str:
    """A setup command that asks for the versions of torch that are installed here, whatever their build."""
    version = importlib.metadata.version
    return re.sub(r"\b(torch|torchvision)==[\d.+a-z]+", lambda found: f"{found[1]}=={version(found[1])}", command)


def adapted(head: Host, workers: list[Host], pip: bool) -> dict[str, Any]:
    """`cluster-onprem.yaml` for these hosts, with or without what `pip` does on them."""
    config: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address for worker in workers]}
    config["auth"]["ssh_user"] = "root"
    commands = [installed(command) for command in config["setup_commands"]]
    config["setup_commands"] = [command for command in commands if pip or "bin/pip" not in command]
    return config


@dataclass
class Cluster:
    """The machines, and the desk from which they are commanded; what was `said` there is a transcript."""

    network: Network
    desk: Host
    head: Host
    workers: list[Host]
    file: Path
    said: list[str] = field(default_factory=list)

    @property
    def shared(self) -> Path:
        """`SHARED` as seen from here."""
        return self.network.folder / "shared"

    def environment(self) -> dict[str, str]:
        """Of commands at the desk, in whose environment qpert's own Python comes first."""
        here = environment()
        return {**here, "PATH": f"{BIN}:{here['PATH']}", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}

    def ray(self, *words: str, log: Sequence[str] = (), timeout: float = 400) -> str:
        """Runs `ray WORDS` at the desk, in this checkout; what it says is kept, with the time.

        Args:
            words: of the command.
            log: further ones that are not shown.
            timeout: seconds.
        """
        begin, shown = time.monotonic(), shlex.join(["ray", *words]).replace(str(self.file), FILE.name)
        says = ""
        try:
            says = self.desk.run([BIN / "ray", *words, *log], timeout, self.environment(), cwd=ROOT)
        except RuntimeError as error:
            says = str(error)
            raise
        finally:
            self.said.append(f"$ {shown}\n{says.strip()}\n({time.monotonic() - begin:.1f} s)\n")
        return says

    def launcher(self, verb: str, *words: str) -> str:
        """`ray VERB cluster-onprem.yaml WORDS`, said as in a terminal."""
        return self.ray(verb, str(self.file), *words, log=("--log-style", "pretty", "--log-color", "false"))

    def up(self) -> None:
        """Until Ray runs on all workers; `ray status` names them."""
        self.launcher("up", "--yes")
        self.wait(self.all_up, "Ray runs on all workers")
        self.launcher("exec", "ray status")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until something holds; its time is kept."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() > begin + 600:
                raise RuntimeError(f"not in ten minutes: {what}\n{self.monitor()}")
            time.sleep(0.5)
        self.said.append(f"{what} {time.monotonic() - begin:.1f} s later\n")

    def all_up(self) -> bool:
        """Whether Ray runs on all workers, and the head's launcher has finished with them."""
        if not all(map(self.services, self.workers)):
            return False
        state = json.loads(self.head.run(["cat", STATE]))
        return all(state[worker.address]["tags"].get(TAG_RAY_NODE_STATUS) == "up-to-date" for worker in self.workers)

    def monitor(self) -> str:
        """The end of the autoscaler's log on the head."""
        return self.head.run(["sh", "-c", "tail -n 60 /tmp/ray/session_latest/logs/monitor*"])

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """Its address at the desk while `ray dashboard` runs."""
        words = [BIN / "ray", "dashboard", self.file]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        tunnel = self.desk.popen(words, self.environment(), cwd=ROOT, stderr=subprocess.STDOUT, **quiet)
        try:
            self.desk.run(["bash", "-c", "until : < /dev/tcp/localhost/8265; do sleep 0.2; done 2> /dev/null"])
            yield "http://localhost:8265"
        finally:
            tunnel.kill()
            tunnel.wait()

    def submit(self, address: str, *words: str) -> str:
        """`python -m jobs WORDS` as a job, from this checkout."""
        options = ["--address", address, "--working-dir", "."]
        return self.ray("job", "submit", *options, "--", "python", "-m", "jobs", *words)

    def services(self, host: Host) -> int:
        """How many of Ray's own services run there."""
        return sum(process.name() in ("raylet", "gcs_server") for process in host.processes())


@contextmanager
def machines(pip: bool = True) -> Iterator[Cluster]:
    """Three machines with SSH, and a desk with the key, the token and this checkout.

    Args:
        pip: let the setup install; else machines have what is installed here, and the code comes with each job.
    """
    with Network() as network:
        key = make_key(network)
        desk, head, fast, slow = (network.add(name) for name in ("desk", "head", "a100", "gtx1080ti"))
        home = furnish(network, desk, key)
        for host, gpu in ((head, None), (fast, A100), (slow, GTX_1080_TI)):
            furnish(network, host, key, gpu)
            serve_ssh(network, host)
        (network.folder / "shared" / "qpert").mkdir()
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(TOKEN)
        (home / ".ray" / "auth_token").chmod(0o600)
        file = network.folder / FILE.name
        file.write_text(yaml.safe_dump(adapted(head, [fast, slow], pip), sort_keys=False))
        yield Cluster(network, desk, head, [fast, slow], file)


def use(cluster: Cluster, photos: int) -> dict[str, Any]:
    """Uploads photos, indexes them by a job, and counts what came of it."""
    write_scenes(cluster.network.folder / "scenes", photos, seed=5)
    cluster.launcher("rsync-up", f"{cluster.network.folder}/scenes/images/", f"{PHOTOS}/")
    with cluster.dashboard() as address:
        kinds = ("--accelerators", A100.label, GTX_1080_TI.label, "--wait", "5")
        cluster.submit(address, "index", PHOTOS, "--out", FEATURES, *kinds, "--block-size", "4")
    rows = [row for file in cluster.shared.glob("qpert/features/features/*.parquet") for row in read(file)]
    return {
        "photos": len(rows),
        "unique": len({row["image_id"] for row in rows}),
        "failed": sum(row["error"] is not None for row in rows),
        "devices": Counter(row["device"] for row in rows),
    }


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of features."""
    return pq.read_table(file, columns=["image_id", "device", "error"]).to_pylist()


def main() -> None:
    """Prints the transcript and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--no-pip", dest="pip", action="store_false", help="what is installed here is there already")
    options, found = parser.parse_args(), dict[str, Any]()
    with machines(options.pip) as cluster:
        try:
            cluster.up()
            found = use(cluster, options.photos)
            cluster.launcher("down", "--yes")
            cluster.wait(lambda: not any(map(cluster.services, cluster.workers)), "Ray has ended on all workers")
            cluster.up()  # the same machines again
            lost = cluster.workers[0]
            for process in lost.processes():
                if process.name() == "raylet":
                    process.kill()
            cluster.wait(lambda: not cluster.services(lost), f"Ray has died on {lost.name}")
            cluster.wait(cluster.all_up, "it runs there again")
            cluster.launcher("down", "--yes")
        finally:
            print("\n".join(cluster.said))
            print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

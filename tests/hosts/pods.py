"""`kuberay/rayjob-index.yaml` as its pods would run it: start, health, submission, a lost attempt, and a retry.

    python -m tests.hosts.pods                 # needs root; prints figures

Without Kubernetes: the commands are those that KubeRay makes of the file, users, rights and volumes those of its
securityContext, on hosts of their own. Smaller are the resources, as CPUs are few here; one pod of each group starts.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.datasets.scenes import write_scenes
from tests.cluster.files import MANIFESTS, manifest
from tests.hosts import kuberay_commands as kuberay
from tests.hosts.fake_gpu import A100, GTX_1080_TI, write_driver
from tests.hosts.launch import read
from tests.hosts.namespaces import Network
from tests.hosts.pod import Pod, build_image, start_pod
from tests.pacing import Pace

TOKEN = "secret of this cluster" * 3
CARDS = {gpu.label: gpu for gpu in (A100, GTX_1080_TI)}
ACCELERATOR = "ray.io/accelerator-type"


def small(job: dict[str, Any]) -> dict[str, Any]:
    """The manifest with resources for a small machine."""
    job = copy.deepcopy(job)
    rays = job["spec"]["rayClusterSpec"]
    for group in (rays["headGroupSpec"], *rays["workerGroupSpecs"]):
        group["template"]["spec"]["containers"][0]["resources"]["limits"] |= {"cpu": "2", "memory": "2Gi"}
    return job


@dataclass
class Attempt:
    """The cluster of one attempt of a RayJob: its pods by name, and the commands of their containers."""

    network: Network
    job: dict[str, Any]
    layer: Path
    drivers: dict[str, Path]
    number: int
    pods: dict[str, Pod] = field(default_factory=dict)
    containers: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    restarts: int = 0

    @property
    def head(self) -> str:
        """Name of its service, which leads to the head's pod."""
        return f"qpert-index-{self.number}-head-svc"

    def start(self) -> dict[str, float]:
        """Starts all pods at once; returns the seconds until each is ready."""
        rays = self.job["spec"]["rayClusterSpec"]
        self._start(self.head, rays["headGroupSpec"], None)
        for group in rays["workerGroupSpecs"]:
            self._start(f"{group['groupName']}-{self.number}", group, self.head)
        begin, ready = time.monotonic(), dict[str, float]()
        while len(ready) < len(self.pods):
            for name, pod in self.pods.items():
                if self.containers[name].poll() is not None:  # Ray gives up after 30 s, such as on a busy machine
                    self.restarts += 1
                    assert self.restarts < 6, self.log(name)
                    self._run(name)
                if name not in ready and healthy(pod):
                    ready[name] = round(time.monotonic() - begin, 1)
            assert time.monotonic() < begin + 300, f"ready are {list(ready)} alone"
            time.sleep(0.5)
        return ready

    def _start(self, name: str, group: dict[str, Any], head: str | None) -> None:
        variables = kuberay.environment(group, name, TOKEN, head)
        driver = self.drivers[group["labels"][ACCELERATOR]] if head else None
        self.pods[name] = start_pod(self.network, name, self.layer, variables, driver, logs=head is None)
        command = kuberay.start_command(group, head)
        if head:
            command = f"{kuberay.wait_command(head)}\n{command}"
        self.commands[name] = command
        self._run(name)

    def _run(self, name: str) -> None:
        with (self.network.folder / f"{name}.log").open("ab") as log:
            self.containers[name] = self.pods[name].popen(*kuberay.BASH, self.commands[name], stdout=log, stderr=log)

    def log(self, name: str) -> str:
        """The end of a container's output."""
        return (self.network.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def submit(self) -> subprocess.Popen[str]:
        """Starts the submitter's pod."""
        name = f"submitter-{self.number}-{len(self.containers)}"
        container = self.job["spec"]["submitterPodTemplate"]["spec"]["containers"][0]
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        variables = {**given, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        pod = start_pod(self.network, name, self.layer, variables)
        command = kuberay.submit_command(self.job["spec"]["entrypoint"], self.head, f"qpert-index-{self.number}")
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = self.containers[name] = pod.popen("/bin/bash", "-ce", "--", command, **pipes)
        return process

    def jobs(self) -> dict[str, str]:
        """Status by submission, as KubeRay asks the dashboard for it."""
        url = f"http://{self.pods[self.head].host.address}:{kuberay.DASHBOARD}/api/jobs/"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return {job["submission_id"]: job["status"] for job in json.load(answer)}

    def delete(self) -> None:
        """As KubeRay does before a retry, and when a RayJob is suspended."""
        for host in self.network.hosts:
            if host.alive:
                host.kill()


def healthy(pod: Pod) -> bool:
    """What the kubelet asks, for readiness and liveness, without a token."""
    url = f"http://{pod.host.address}:{kuberay.AGENT}{kuberay.HEALTH}"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def seconds_until(condition: Callable[[], bool], limit: float = 300) -> float:
    """How long it takes until something holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + limit, "it does not happen"
        time.sleep(0.2)
    return round(time.monotonic() - begin, 1)


def rows_of(network: Network) -> list[dict[str, Any]]:
    """All that is committed."""
    return [row for file in network.folder.glob("data/features/features/*.parquet") for row in read(file)]


def run(photos: int, found: dict[str, Any]) -> None:
    """Both attempts; the first one ends with its pods when a quarter is done. What is `found` so far is kept there."""
    job = small(manifest(MANIFESTS[0]))
    with Network() as network:
        data = network.folder / "data"
        layer = build_image(network)
        write_scenes(data / "scenes", photos, seed=5)
        (data / "scenes" / "images").rename(data / "photos")
        pace = Pace(data / "pace", 0.3)
        pace.environment()
        slow = (data / "pace" / "sitecustomize.py").read_text().replace(str(data), "/data")
        drivers = {label: network.folder / f"driver-{label}" for label in CARDS}
        for label, folder in drivers.items():
            write_driver(folder, CARDS[label], slow)

        first = Attempt(network, job, layer, drivers, 1)
        found["ready (s)"] = first.start()
        submitter = first.submit()
        found["a quarter (s)"] = seconds_until(lambda: len(rows_of(network)) >= photos // 4)
        first.delete()
        found["committed by the first attempt"] = len(rows_of(network))
        found["submitter's exit code then"] = submitter.wait(60)
        pace.end()

        second = Attempt(network, job, layer, drivers, 2)
        found["ready again (s)"] = second.start()
        begin = time.monotonic()
        said = second.submit().communicate(timeout=300)[0]
        found["containers started again"] = first.restarts + second.restarts
        found["second attempt (s)"] = round(time.monotonic() - begin, 1)
        found["it says"] = [line for line in said.splitlines() if line.strip()][-6:]
        # The submitter's own retry, such as after its node was lost: it follows, and submits nothing.
        again = second.submit()
        again.communicate(timeout=120)
        found["jobs"], found["submitter's second exit code"] = second.jobs(), again.returncode
        rows = rows_of(network)
        found["photos"], found["unique"] = len(rows), len({row["image_id"] for row in rows})
        found["failed"] = sum(row["error"] is not None for row in rows)
        found["devices"] = Counter(row["device"] for row in rows)
        found["user of the files"] = {file.stat().st_uid for file in data.glob("features/**/*.parquet")}
        worker = next(name for name in second.pods if name.startswith("a100"))
        for process in second.pods[worker].host.processes():
            if process.name() == "raylet":
                process.kill()
        found["container ends after its raylet (s)"] = seconds_until(
            lambda: second.containers[worker].poll() is not None
        )
        found["its exit code"] = second.containers[worker].returncode


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=120)
    found: dict[str, Any] = {}
    try:
        run(parser.parse_args().photos, found)
    finally:
        print(json.dumps(found, indent=1, default=list))


if __name__ == "__main__":
    main()

"""Hosts as pods: nothing to write but the volumes, no rights, and Ray works so as KubeRay starts it."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cluster.files import MANIFESTS, manifest
from tests.hosts import kuberay_commands as kuberay
from tests.hosts.namespaces import Network, missing
from tests.hosts.pod import GROUP, USER, Pod, start_pod
from tests.hosts.pods import Attempt, healthy, seconds_until, small

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture
def pod() -> Iterator[Pod]:
    """Of an image that adds nothing to what is installed here."""
    with Network() as network:
        layer = network.folder / "layer"
        layer.mkdir()
        yield start_pod(network, "pod", layer, {"HOME": "/tmp"})


def test_it_has_no_rights(pod: Pod) -> None:
    status = dict(line.split(":\t") for line in pod.run("cat", "/proc/self/status").splitlines())
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert [int(status[kind].split()[1]) for kind in ("Uid", "Gid")] == [USER, GROUP]


def test_only_volumes_can_be_written(pod: Pod) -> None:
    for folder in ("/tmp", "/data", "/dev/shm"):
        pod.run("touch", f"{folder}/file")
    for folder in ("/", "/usr", "/etc", "/home/qpert", sys.prefix):
        with pytest.raises(RuntimeError, match=r"Read-only|Permission denied"):
            pod.run("touch", f"{folder}/file")
    assert pod.run("whoami").strip() == "qpert"
    assert pod.run("python", "-c", "import sys; print(sys.prefix)").strip() == sys.prefix


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif("QPERT_HOSTS" not in os.environ, reason="takes minutes on two cores: set QPERT_HOSTS=1")
@pytest.mark.timeout(600)
def test_a_head_is_healthy_and_takes_jobs_of_those_with_the_token() -> None:
    job = small(manifest(MANIFESTS[0]))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"] = []
    job["spec"]["entrypoint"] = "python --version"
    with Network() as network:
        layer = network.folder / "layer"
        layer.mkdir()
        attempt = Attempt(network, job, layer, {}, 1)
        attempt.start()
        said, _ = attempt.submit().communicate(timeout=300)
        assert "Python 3" in said, said[-2000:]
        seconds_until(lambda: set(attempt.jobs().values()) == {"SUCCEEDED"})
        pod = attempt.pods[attempt.head]
        with pytest.raises(urllib.error.HTTPError, match=r"401|403"):
            urllib.request.urlopen(f"http://{pod.host.address}:{kuberay.DASHBOARD}/api/jobs/", timeout=10)
        (server,) = (process for process in pod.host.processes() if process.name() == "gcs_server")
        server.kill()
        assert attempt.containers[attempt.head].wait(120) != 0  # KubeRay makes a new pod of it
        assert not healthy(pod)

"""The server as an application of Ray Serve: its configuration, replicas with one encoder, and one that is lost."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray.serve")

from ray.serve.schema import ServeDeploySchema

from pipeline.errors import QpertError
from pipeline.serving.deployment import ClusterSettings, Embedder, Search, build
from tests.serving.live import ROOT, live_server
from tests.serving.load import put_load

EXAMPLE = ROOT / "docs" / "examples" / "serve.yaml"


@pytest.fixture
def example() -> dict[str, Any]:
    return dict(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))


def test_ray_serve_accepts_the_example(example: dict[str, Any]) -> None:
    ServeDeploySchema.model_validate(example)
    (application,) = example["applications"]
    module, _, name = application["import_path"].partition(":")
    assert (module, name) == (build.__module__, build.__name__)
    assert {one["name"] for one in application["deployments"]} == {Search.name, Embedder.name}  # type: ignore[attr-defined]
    ClusterSettings.model_validate(application["args"])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["http_options", "port"], "http"),
        (["applications", 0, "import_path"], "deployment"),
        (["applications", 0, "deployments", 0, "max_ongoing_requests"], 0),
        (["applications", 0, "deployments", 0, "num_replicas"], -1),
        (["applications", 0, "deployments", 0, "ray_actor_options", "num_cpus"], -1),
    ],
)
def test_ray_serve_refuses_mistakes_in_it(example: dict[str, Any], place: list[Any], value: Any) -> None:
    inner: Any = example
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=str(place[-1])):
        ServeDeploySchema.model_validate(example)


def test_the_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="name a token_file"):
        build({"features": ["features"]})
    with pytest.raises(QpertError, match="feature"):
        build({"feature": ["features"], "without_token": True})
    with pytest.raises(QpertError, match="cannot read --token-file"):
        build({"features": ["features"], "token_file": str(tmp_path / "none")})
    assert build({"features": ["features"], "without_token": True}) is not None


def replicas_of(pid: int) -> list[int]:
    """The processes of replicas of `Search` below the session of a process."""
    listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()[1:]]
    below, found = {str(pid)}, []
    for _ in range(4):
        below |= {row[0] for row in rows if row[1] in below}
    for row in rows:
        if row[0] in below and "ServeReplica:qpert:Search" in row[2]:
            found.append(int(row[0]))
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_replicas_serve_and_one_may_be_lost(coca: str) -> None:
    """No request fails, except for those that the lost replica was at."""
    with live_server(coca, "--replicas", "2", "--rate", "100000") as server:
        replicas = replicas_of(server.pid)
        assert len(replicas) == 2
        killed: list[float] = []

        def kill() -> None:
            time.sleep(3)
            killed.append(time.monotonic())
            os.kill(replicas[0], signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        clients = 8
        load = put_load(server.url, clients=clients, seconds=12)
        thread.join()
        assert len(load.seconds) > 5 * clients
        # Each client has one request in flight.
        assert sum(load.failures.values()) <= clients, load.failures
        assert all(moment < killed[0] + 5 for moment in load.when)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/", headers={"host": "evil.example"})
        assert connection.getresponse().status == 403
        connection.close()
        assert server.stop() == 0

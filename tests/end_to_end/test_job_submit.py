"""`ray job submit` against a head with a dashboard and a token: status, logs, stop, going on, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from tests.pacing import Pace

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
COUNT = 160
IGNORES = (".gitignore", ".rayignore")
DEFAULTS = [".git", ".venv"]
"""What Ray leaves out by itself."""


@dataclass(frozen=True)
class Head:
    """A running head: where it takes jobs, and the environment of whoever talks to it."""

    dashboard: str
    environment: dict[str, str]
    pace: Pace

    def ray(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray job WORDS`."""
        verb, *rest = words
        command = [RAY, "job", verb, "--address", self.dashboard, *rest]
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
        )

    def submit(self, *words: str, wait: bool = True, name: str | None = None) -> subprocess.CompletedProcess[str]:
        """`python -m jobs WORDS` as a job, from this checkout."""
        options = ["--working-dir", ".", *([] if wait else ["--no-wait"]), *(["--submission-id", name] if name else [])]
        end = time.monotonic() + 120
        while True:
            done = self.ray("submit", *options, "--", "python", "-m", "jobs", *words)
            # A head answers before its agent is up, which takes a while on a busy machine.
            if "No available agent" not in done.stderr or time.monotonic() > end:
                return done
            time.sleep(2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # Workers find `python` as a job does on a node whose environment is active.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    dashboard, port = free_port(), free_port()
    pace = Pace(folder / "site", 0.5)
    command = [
        RAY,
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=2",
        f"--object-store-memory={2 * 10**8}",
    ]
    command += ["--include-dashboard=true", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}"]
    with open(folder / "log", "wb") as log:
        paced = environment | pace.environment()
        process = subprocess.Popen(command, env=paced, stdout=log, stderr=log, start_new_session=True)
    found = Head(f"http://127.0.0.1:{dashboard}", environment, pace)
    try:
        end = time.monotonic() + 240
        while found.ray("list").returncode:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < end, "the head takes no jobs"
            time.sleep(2)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)  # not `ray stop`, which would end every Ray session on this machine
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, COUNT, seed=9)
    return folder


def committed(out: Path) -> int:
    manifest = FeatureStore(str(out)).find_manifest()
    return 0 if manifest is None else sum(map(len, FeatureStore(str(out)).files_of(manifest).ids()))


def test_what_is_uploaded_is_the_code_and_the_miniatures(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    create_package(str(ROOT), tmp_path / "package.zip", include_gitignore=True, excludes=DEFAULTS)
    with ZipFile(tmp_path / "package.zip") as package:
        files = {info.filename: info.file_size for info in package.infolist() if not info.is_dir()}
    assert {name.partition("/")[0] for name in files} <= {
        "pipeline",
        "jobs",
        "pyproject.toml",
        "LICENSE",
        "Makefile",
        *IGNORES,
    }
    assert "pipeline/miniature/yolo.pt" in files
    assert sum(files.values()) < 35e6  # five miniatures of some 5 MB each


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_is_watched_stopped_and_goes_on(head: Head, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    words = ["index", str(scenes / "images"), "--out", str(out), "--block-size", "8", "--file-size", "8"]
    words += ["--detect-actors", "1", "--encode-actors", "1"]

    submitted = head.submit(*words, wait=False, name="first")
    assert submitted.returncode == 0, submitted.stderr
    end = time.monotonic() + 400
    while "RUNNING" not in head.ray("status", "first").stdout:
        assert time.monotonic() < end, head.ray("logs", "first").stdout[-3000:]
    while committed(out) < COUNT // 16:
        assert time.monotonic() < end, head.ray("logs", "first").stdout[-3000:]
        time.sleep(0.2)
    assert head.ray("stop", "first").returncode == 0
    assert "was stopped" in head.ray("status", "first").stdout
    assert "run the same command again to go on where it stopped" in head.ray("logs", "first").stdout
    done = committed(out)
    assert COUNT // 16 <= done < COUNT
    head.pace.end()

    second = head.submit(*words, name="second")
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    assert f"going on in {out}: {done:,} photos are done" in second.stdout
    assert f"holds {COUNT:,} photos" in second.stdout
    assert "succeeded" in head.ray("status", "second").stdout
    assert sorted(FeatureSet.open(str(out)).ids) == sorted(path.name for path in (scenes / "images").iterdir())

    captions = ["--captions", str(scenes / "dataset_scenes.json"), "--annotations", str(scenes)]
    measured = head.submit("evaluate", str(out), *captions, "--json", str(tmp_path / "report.json"))
    assert measured.returncode == 0, measured.stdout[-3000:] + measured.stderr[-3000:]
    assert "R@1" in measured.stdout
    assert (tmp_path / "report.json").stat().st_size > 100


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_that_fails_says_so_and_why(head: Head, tmp_path: Path) -> None:
    failed = head.submit("index", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), name="third")
    assert failed.returncode != 0
    assert f"error: there is no {tmp_path}/nowhere" in failed.stdout
    assert "failed" in head.ray("status", "third").stdout
    relative = head.submit("index", str(tmp_path), "--out", "features")
    assert relative.returncode != 0
    assert "give an absolute path that all nodes" in relative.stdout

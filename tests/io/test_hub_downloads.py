"""Downloads from a server that answers as the hub does: whole, resumed, once per machine, and without a network."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.encoders.hub import cached_weights, fetch
from pipeline.errors import QpertError
from pipeline.io import hub_downloads
from pipeline.io.hub_downloads import LARGE, download_snapshot
from tests.io.fake_hub import FakeHub, serving

NAME, FILE = "org/model", "model.safetensors"
PATTERNS = ["config.json", "*.safetensors"]
CONTENT = random.Random(0).randbytes(LARGE + 2**20)
FILES = {"config.json": b"{}", FILE: CONTENT, "pytorch_model.bin": CONTENT}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that the library of this process asks, with an empty cache."""
    with serving(FakeHub(NAME, dict(FILES))) as fake:
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", fake.url + "".join(template[1:]))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(hub_downloads, "_LONGEST_PAUSE", 0.01)
        yield fake


def test_what_is_asked_for_is_fetched_once_and_progress_shown(hub: FakeHub) -> None:
    shown: list[tuple[int, int]] = []
    folder = Path(download_snapshot(NAME, allow_patterns=PATTERNS, progress=lambda *state: shown.append(state)))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", FILE]
    assert (folder / FILE).read_bytes() == CONTENT
    assert shown == sorted(shown)
    assert shown[-1] == (len(CONTENT), len(CONTENT))
    assert hub.answers(FILE) == [(0, len(CONTENT))]
    assert download_snapshot(NAME, allow_patterns=PATTERNS) == str(folder)
    assert len(hub.answers(FILE)) == 1
    assert cached_weights(NAME) == folder


def test_after_a_lost_connection_only_the_rest_is_fetched(hub: FakeHub) -> None:
    hub.cut = [2**20, 3 * 2**20]
    folder = Path(download_snapshot(NAME, allow_patterns=PATTERNS))
    assert (folder / FILE).read_bytes() == CONTENT
    assert [first for first, _ in hub.answers(FILE)] == [0, 2**20, 4 * 2**20]


def test_a_later_process_goes_on_with_what_an_earlier_one_left(hub: FakeHub, tmp_path: Path) -> None:
    """The earlier one is killed, so that it cannot tidy up."""
    hub.cut, hub.hang = [6 * 2**20], True
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment(hub, tmp_path))
    assert hub.reached.wait(60)
    blobs = tmp_path / "hub" / "models--org--model" / "blobs"
    for _ in range(600):
        if any(path.stat().st_size >= 5 * 2**20 for path in blobs.glob("*.partial")):
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert cached_weights(NAME) is None
    folder = Path(download_snapshot(NAME, allow_patterns=PATTERNS))
    assert (folder / FILE).read_bytes() == CONTENT
    assert hub.answers(FILE)[-1][0] >= 5 * 2**20
    assert not list(blobs.glob("*.partial"))


PROGRAM = f"""
from pipeline.io.hub_downloads import download_snapshot
print(download_snapshot({NAME!r}, allow_patterns={PATTERNS!r}))
"""


def environment(hub: FakeHub, folder: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(folder / "hub"), "PYTHONPATH": root}


@pytest.mark.slow
def test_processes_of_one_machine_fetch_a_file_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = [2**20]  # the first is interrupted while the others wait
    given = environment(hub, tmp_path)
    command = [sys.executable, "-c", PROGRAM]
    processes = [subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    folders = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(folders) == 1
    assert sum(count for _, count in hub.answers(FILE)) == len(CONTENT)


def test_a_server_that_sends_no_parts_is_asked_for_all(hub: FakeHub) -> None:
    hub.ranges, hub.cut = False, [2**20]
    folder = Path(download_snapshot(NAME, allow_patterns=PATTERNS))
    assert (folder / FILE).read_bytes() == CONTENT
    assert [first for first, _ in hub.answers(FILE)] == [0, 0]


def test_another_content_than_the_hub_lists_is_not_kept(hub: FakeHub, tmp_path: Path) -> None:
    listed = hub.entry(FILE)
    hub.entry = lambda path: listed | {"path": path}  # type: ignore[method-assign]
    hub.files = {FILE: CONTENT[:-1] + b"?"}
    with pytest.raises(QpertError, match="is not the file that the hub lists"):
        fetch(NAME, PATTERNS, "BLIP-2")
    assert not list((tmp_path / "hub" / "models--org--model" / "blobs").iterdir())


def test_a_server_that_never_ends_does_not_fill_the_disk(hub: FakeHub, tmp_path: Path) -> None:
    listed = hub.entry(FILE)
    hub.entry = lambda path: listed | {"path": path}  # type: ignore[method-assign]
    hub.files = {FILE: CONTENT + bytes(20 * 2**20)}
    with pytest.raises(QpertError, match="is not the file that the hub lists"):
        fetch(NAME, PATTERNS, "BLIP-2")
    assert not list((tmp_path / "hub" / "models--org--model" / "blobs").iterdir())


def test_a_digest_that_is_a_path_is_not_a_file_name(hub: FakeHub, tmp_path: Path) -> None:
    listed = hub.entry(FILE)
    evil = {"sha256": "../../../evil", "oid": "../../../evil", "size": len(CONTENT), "pointerSize": 134}
    hub.entry = lambda path: listed | {"path": path, "lfs": evil}  # type: ignore[method-assign]
    assert hub_downloads._large_files(NAME, PATTERNS) == []


def test_a_download_gives_up_when_nothing_arrives_and_keeps_what_has(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = [2**20, *[0] * 20]
    with pytest.raises(QpertError, match="BLIP-2 weights 'org/model' could not be loaded"):
        fetch(NAME, PATTERNS, "BLIP-2")
    (left,) = (tmp_path / "hub" / "models--org--model" / "blobs").glob("*.partial")
    assert left.read_bytes() == CONTENT[: 2**20]


def test_a_disk_without_room_is_refused_before_the_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(QpertError, match=r"takes 0\.0 GB, and .* has room for 0\.0: name another folder in HF_HOME"):
        fetch(NAME, PATTERNS, "BLIP-2")
    assert not hub.sent


def test_a_repository_that_does_not_exist_is_named(hub: FakeHub) -> None:
    with pytest.raises(QpertError, match="BLIP-2 weights 'org/other' could not be loaded"):
        fetch("org/other", PATTERNS, "BLIP-2")


def test_without_a_network_the_cache_serves_or_the_message_says_what_to_do(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = download_snapshot(NAME, allow_patterns=PATTERNS)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        assert download_snapshot(NAME, allow_patterns=PATTERNS) == folder
        with pytest.raises(QpertError, match="Without a network, download the repository elsewhere"):
            fetch("org/other", PATTERNS, "BLIP-2")

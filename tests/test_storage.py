from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.storage import absolute, exclusive, is_uri, join, list_files, locate, write_atomically


def test_paths_and_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [is_uri(each) for each in ("s3://b/k", "file:///x", "C:/photos", "photos/a:b.jpg")] == [
        True,
        True,
        False,
        False,
    ]
    assert absolute("here") == str(tmp_path / "here")
    assert absolute("s3://bucket/key") == "s3://bucket/key"
    assert join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    with pytest.raises(QpertError, match="cannot open nonsense://x"):
        locate("nonsense://x")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        write_atomically(str(tmp_path / "new" / "file.json"), text)
    assert [info.base_name for info in list_files(str(tmp_path / "new"))] == ["file.json"]
    assert (tmp_path / "new" / "file.json").read_bytes() == b"two"
    assert list_files(str(tmp_path / "nowhere")) == []


def test_a_second_writer_is_refused_until_the_first_is_gone_even_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pipeline.storage import exclusive\n"
            "with exclusive(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)",
            str(tmp_path / "out"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(QpertError, match="another run is writing to"), exclusive(str(tmp_path / "out")):
            pass
    finally:
        holder.kill()
        holder.wait()
    for _ in range(2):
        with exclusive(str(tmp_path / "out")):
            pass

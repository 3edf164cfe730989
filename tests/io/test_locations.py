from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.io.locations import (
    Folder,
    absolute,
    answering,
    as_uri,
    is_inside,
    is_uri,
    join,
    local_path,
    locate,
    real_place,
    split,
    write_atomically,
)


def test_paths_and_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [is_uri(text) for text in ("s3://b/k", "file:///x", "C:/photos", "photos/a:b.jpg")] == [
        True,
        True,
        False,
        False,
    ]
    assert absolute("here") == str(tmp_path / "here")
    assert absolute("s3://bucket/key") == "s3://bucket/key"
    assert join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    with pytest.raises(QpertError, match=r"^cannot open the URI: nonsense://x "):
        locate("nonsense://x")


NAMES = ["a.jpg", "my photo.jpg", "é.jpg", "100%.jpg", "a%20b.jpg", "a#1?b=c.jpg", '[a]{b}|^`\\".jpg', "sub/a+b;c.jpg"]


@pytest.mark.parametrize(
    "base", ["/f", "file:///f", "file:///f/?x=http://h:9000/y&z=1", "gs://anonymous@f", "s3://f?region=eu-west-1"]
)
@pytest.mark.parametrize("name", NAMES)
def test_join_and_split_are_inverse_for_any_name(base: str, name: str) -> None:
    place = join(base, name)
    assert locate(place)[1].lstrip("/") == f"f/{name}"
    folder, last = split(place)
    assert last == name.rpartition("/")[2]
    assert join(folder, last) == place
    assert as_uri(place) == (place if is_uri(place) else join("file:///f", name))


def test_unencoded_uris_are_located() -> None:
    region = "?region=eu-west-1"
    for written, inner in {
        f"s3://b/my photos/é.jpg{region}": "b/my photos/é.jpg",
        f"s3://b/my%20photos/100%.jpg{region}": "b/my photos/100%.jpg",
        f"s3://b/what?.jpg{region}": "b/what?.jpg",
        f"s3://b/a#1.jpg{region}": "b/a#1.jpg",
        f"s3://b/{region}": "b",
        "file:///": "/",
    }.items():
        assert locate(written)[1] == inner
    out = "s3://bucket/out?endpoint_override=http://localhost:9000"
    assert join(out, "manifest.json") == "s3://bucket/out/manifest.json?endpoint_override=http://localhost:9000"
    assert join("file:///", "a") == "file:///a"
    assert split("file:///a") == ("file:///", "a")
    assert not is_uri("http:/x")
    assert is_uri("http://[")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        write_atomically(str(tmp_path / "new" / "file.json"), text)
    assert [info.base_name for info in Folder.open(str(tmp_path / "new")).files()] == ["file.json"]
    assert (tmp_path / "new" / "file.json").read_bytes() == b"two"
    assert Folder.open(str(tmp_path / "nowhere")).files() == []


def test_a_second_writer_is_refused_until_the_first_ends_or_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pipeline.io.locations import Folder\n"
            "with Folder.open(sys.argv[1]).exclusive():\n    print('held', flush=True)\n    time.sleep(60)",
            str(tmp_path / "out"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(QpertError, match="another run is writing to"),
            Folder.open(str(tmp_path / "out")).exclusive(),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
    for _ in range(2):
        with Folder.open(str(tmp_path / "out")).exclusive():
            pass


def test_errors_of_file_systems_become_one_line() -> None:
    for error in (ImportError("no package\nfor it"), OSError("ill\nvery"), RuntimeError(), TypeError("x" * 5000)):
        with pytest.raises(QpertError, match=r"^cannot look at s3://b ") as caught, answering("s3://b"):
            raise error
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_every_spelling_of_a_place_has_one_real_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to("a b")
    names = (
        "a b",
        "./a b/",
        f"{tmp_path}/x/../a b",
        f"file://{tmp_path}/a%20b/",
        "link",
        f"file://localhost{tmp_path}/link",
    )
    assert {real_place(name) for name in names} == {f"{tmp_path.resolve()}/a b"}
    assert real_place("S3://key:secret@b/x//y/../z/?region=x") == real_place("s3://b/x/z") == "s3://b/x/z"
    assert is_inside("link/x", "a b")
    assert is_inside("a b", f"file://{tmp_path}/a b")
    assert not is_inside("a b-2", "a b")
    assert not is_inside("s3://bucket-2/x", "s3://bucket")
    assert is_inside("/x", "/")
    assert [local_path(text) for text in ("s3://b/x", "file://host/x", "file:///x", "fsspec+file:///x")] == [
        None,
        None,
        "/x",
        "/x",
    ]

"""Walking folders and matching patterns, on local disks and by URI."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.datasets.photos.folder_walk import FolderWalk, glob
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files below tmp_path."""

    def fill(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return fill


def found(pattern: str) -> list[str]:
    return list(glob(pattern))


def test_names_in_order_without_hidden_files(fill: Callable[..., Path]) -> None:
    root = fill("b.jpg", "a/2", "a/1.PNG", ".hidden/x.jpg", "a/.thumb.jpg", "__MACOSX/b.jpg", "a b/é#1?.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for folder in (str(root), f"file://{root}", f"file://{root}/", f"fsspec+file://{root}"):
            assert list(FolderWalk(folder)) == ["a/1.PNG", "a/2", "a b/é#1?.jpg", "b.jpg"]


def test_links_in_a_circle_are_followed_once(fill: Callable[..., Path]) -> None:
    root = fill("loop/a/p.jpg", "elsewhere/q.jpg")
    (root / "loop" / "a" / "up").symlink_to("..")
    (root / "loop" / "twice").symlink_to("a")
    (root / "loop" / "other").symlink_to(root / "elsewhere")
    assert list(FolderWalk(str(root / "loop"))) == ["a/p.jpg", "other/q.jpg", "twice/p.jpg"]
    files = FolderWalk(f"file://{root}/loop")
    assert list(files) == ["a/p.jpg", "other/q.jpg", "twice/p.jpg"]
    assert list(files.skipped.lines()) == ["2 links back to a folder that they lie in: a/up/, twice/up/"]


def test_files_that_are_left_out_are_counted(fill: Callable[..., Path]) -> None:
    root = fill("a.jpg", "in/b.jpg", ".hidden/x.jpg", "in/.y.jpg", "in/._b.jpg", "@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg")
    for name in (b"caf\xe9.jpg", b"in/caf\xe9.jpg"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(root / "in" / "pipe.jpg")
    files = FolderWalk(str(root))
    for _ in range(2):  # counted once, however often it is walked
        assert list(files) == ["a.jpg", "in/b.jpg"]
        assert list(files.skipped.lines()) == [
            "2 files and folders whose names are not UTF-8: caf\\xe9.jpg, in/caf\\xe9.jpg",
            "2 hidden: .hidden/, in/.y.jpg",
            "2 links that lead nowhere: gone.jpg, loop.jpg",
            "1 thumbnails of a NAS: @eaDir/",
            "1 files of macOS: in/._b.jpg",
            "1 named pipes, sockets and devices: in/pipe.jpg",
        ]


def test_sizes_and_times_of_change_links_followed(fill: Callable[..., Path], tmp_path: Path) -> None:
    root = fill("in/a.jpg")
    (root / "in" / "a.jpg").write_bytes(b"12345")
    os.utime(root / "in" / "a.jpg", ns=(0, 1_700_000_000_123_456_789))
    (root / "in" / "b.jpg").symlink_to("a.jpg")
    for folder in (f"{root}/in", f"file://{root}/in", f"fsspec+file://{root}/in"):
        first, link = FolderWalk(folder).files()
        micros = first.mtime
        assert first.size == link.size == 5
        assert micros is not None
        assert abs(micros - 1_700_000_000_123_456) <= 1


def test_excluded_folders_are_not_entered(fill: Callable[..., Path]) -> None:
    root = fill("raw/x/a.jpg", "2023/raw/b.jpg", "2023/c.jpg", "d.tmp.jpg", "2023/raw.jpg")
    files = FolderWalk(str(root), None, SourceRules(exclude=("raw", "*.tmp.*")))
    assert list(files) == ["2023/c.jpg", "2023/raw.jpg"]
    assert list(files.skipped.lines()) == ["3 not chosen by --include and --exclude: d.tmp.jpg, raw/, 2023/raw/"]
    assert "raw/x/a.jpg" in list(FolderWalk(str(root), None, SourceRules(exclude=("2023/raw",))))


def test_own_output_is_left_out(fill: Callable[..., Path], write_features: Callable[..., Any]) -> None:
    root = fill("a.jpg", "out/features/x.parquet", "out/report.png", "other/features/y.jpg", "other/manifest.json")
    write_features([[[1.0, 0.0]]], ["a"], name="former")
    (root / "link").symlink_to("out")
    (root / "x.parquet").symlink_to("out/features/x.parquet")
    (root / "outside").mkdir()
    for out in (f"{root}/out", f"file://{root}/out/", f"{root}/link", f"{root}/outside/../out"):
        for folder in (str(root), f"file://{root}", f"fsspec+file://{root}"):
            files = FolderWalk(folder, out=out)
            found = list(files)
            assert found == [
                "a.jpg",
                "other/features/y.jpg",
                "other/manifest.json",
            ]
            assert set(files.skipped.counts()) == {"feature sets of qpert"}
    # The output folder may be the source itself, with the features beside the photos.
    files = FolderWalk(f"{root}/out", out=f"{root}/out")
    assert list(files) == ["report.png"]
    assert list(FolderWalk(f"{root}/former")) == ["manifest.json"]


def test_deeply_nested_folders(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    try:
        for _ in range(1200):  # deeper than Python's limit of recursion
            os.mkdir("a", dir_fd=folder)
            inner = os.open("a", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        assert list(FolderWalk(str(top))) == ["a/" * 1200 + "x.jpg"]
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)  # shutil.rmtree is recursive


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty in-memory file system of fsspec."""
    filesystem = fsspec.filesystem("memory")
    filesystem.rm("/", recursive=True) if filesystem.ls("/") else None
    yield filesystem
    filesystem.rm("/", recursive=True)


def test_many_folders_of_a_slow_file_system_in_order(fill: Callable[..., Path], memory: Any) -> None:
    names = [f"{first:02}/{second:02}/{third}.jpg" for first in range(5) for second in range(40) for third in "ab"]
    root = fill(*names, "02.jpg", "03/x.jpg")
    local = list(FolderWalk(str(root)))
    assert len(local) == len(names) + 2
    for name in local:
        memory.pipe(f"/bucket/{name}", b"1234567")
    assert list(FolderWalk("fsspec+memory://bucket")) == local
    first = next(FolderWalk("fsspec+memory://bucket").files())  # the rest is not listed
    assert first == (local[0], 7, None)  # this file system keeps no times


def test_the_same_files_are_left_out_of_a_slow_file_system(memory: Any) -> None:
    manifest = json.dumps({"fingerprint": "f", "identity": {}, "encoder": {}, "counts": {}}).encode()
    for name in ("a.jpg", ".b.jpg", "in/._c.jpg", "@eaDir/d.jpg", "out/features/x.parquet", "raw/e.jpg", "new/y.jpg"):
        memory.pipe(f"/bucket/{name}", b"1")
    memory.pipe("/bucket/out/manifest.json", manifest)
    files = FolderWalk("fsspec+memory://bucket", None, SourceRules(exclude=("raw",)), out="fsspec+memory://bucket/new/")
    assert list(files) == ["a.jpg"]
    assert files.skipped.counts() == {
        "hidden": 1,
        "files of macOS": 1,
        "thumbnails of a NAS": 1,
        "feature sets of qpert": 2,
        "not chosen by --include and --exclude": 1,
    }


def test_a_folder_that_cannot_be_read_is_an_error(fill: Callable[..., Path]) -> None:
    with pytest.raises(QpertError, match=r"cannot read the folder .*nowhere"):
        list(FolderWalk(str(fill() / "nowhere")))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["1.jpg", "b.jpg"]),
        ("**/*.jpe?", ["a/2.jpeg"]),
        ("**/*.*g", ["1.jpg", "a/2.jpeg", "b.jpg"]),
        ("**", ["000.tar", "001.tar", "007.tar", "010.tar", "1.jpg", "a/1.PNG", "a/2.jpeg", "b.jpg"]),
        ("[0-9]*.jpg", ["1.jpg"]),
        ("[!0-9].jpg", ["b.jpg"]),
        ("**/[]12].[!j]*", ["a/1.PNG"]),
        ("a[!x]1.PNG", []),
        ("{000..007}.tar", ["000.tar", "001.tar", "007.tar"]),
        ("{007..010}.tar", ["007.tar", "010.tar"]),
        ("0{10..7}.tar", ["010.tar"]),
        ("{0..1}.jpg", ["1.jpg"]),
        ("{a/2.jpeg,[b-c].{gif,jpg}}", ["a/2.jpeg", "b.jpg"]),
        ("**/*.{PNG,jpe*g}", ["a/1.PNG", "a/2.jpeg"]),
        ("{b}.jpg", []),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_patterns(fill: Callable[..., Path], scheme: str, pattern: str, expected: list[str]) -> None:
    root = fill("b.jpg", "1.jpg", "a/1.PNG", "a/2.jpeg", "000.tar", "001.tar", "007.tar", "010.tar")
    assert found(f"{scheme}{root}/{pattern}") == expected


def test_a_pattern_starts_from_the_last_folder_that_exists(fill: Callable[..., Path]) -> None:
    root = fill("a [2020]/x/1.jpg", "a 2/x/1.jpg", "{b}/y/2.jpg")
    for scheme in ("", "file://"):
        assert glob(f"{scheme}{root}/a [2020]/*/1.jpg").root.endswith(("/a [2020]", "/a%20%5B2020%5D"))
        assert found(f"{scheme}{root}/a [2020]/*/1.jpg") == ["x/1.jpg"]
        assert found(f"{scheme}{root}/{{b}}/**/*.jpg") == ["y/2.jpg"]
        assert found(f"{scheme}{root}/a [0-9]/x/*") == ["a 2/x/1.jpg"]
    assert glob(f"file://{root}/a%202/*?region=x").root == f"file://{root}/a%202?region=x"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("nowhere/*.jpg", "there is no folder .*nowhere$"), ("[z-a].jpg", "is not valid: bad character range z-a")],
)
def test_invalid_patterns_are_refused(fill: Callable[..., Path], pattern: str, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        glob(f"{fill()}/{pattern}")

"""Folders walked and patterns matched, on local disks and by URI."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets.files import Files, glob
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
            assert list(Files(folder)) == ["a/1.PNG", "a/2", "a b/é#1?.jpg", "b.jpg"]


def test_links_in_a_circle_are_followed_once(fill: Callable[..., Path]) -> None:
    root = fill("loop/a/p.jpg", "elsewhere/q.jpg")
    (root / "loop" / "a" / "up").symlink_to("..")
    (root / "loop" / "twice").symlink_to("a")
    (root / "loop" / "other").symlink_to(root / "elsewhere")
    assert list(Files(str(root / "loop"))) == ["a/p.jpg", "other/q.jpg", "twice/p.jpg"]
    assert list(Files(f"file://{root}/loop")) == ["a/p.jpg", "other/q.jpg", "twice/p.jpg"]


def test_what_is_left_out_is_counted_and_said_once(fill: Callable[..., Path]) -> None:
    root = fill("a.jpg", "in/b.jpg")
    for name in (b"caf\xe9.jpg", b"in/caf\xe9.jpg"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    files = Files(str(root))
    assert next(iter(files)) == "a.jpg"
    with pytest.warns(UserWarning, match="left out") as caught:
        found = [*files, *files]
    assert found == ["a.jpg", "in/b.jpg"] * 2
    messages = [str(each.message) for each in caught]
    assert len(messages) == 2
    assert f"{root}: 2 files and folders whose names are not UTF-8" in messages[0]
    assert messages[1].endswith("1 links that lead nowhere are left out; the first: gone.jpg")


def test_many_folders_of_a_slow_file_system_in_order(fill: Callable[..., Path]) -> None:
    names = [f"{first:02}/{second:02}/{third}.jpg" for first in range(5) for second in range(40) for third in "ab"]
    root = fill(*names, "02.jpg", "03/x.jpg")
    local = list(Files(str(root)))
    assert len(local) == len(names) + 2
    assert list(Files(f"fsspec+file://{root}")) == local
    assert next(iter(Files(f"fsspec+file://{root}"))) == local[0]  # and stops without the rest


def test_a_folder_that_cannot_be_read(fill: Callable[..., Path]) -> None:
    with pytest.raises(QpertError, match=r"cannot read the folder .*nowhere"):
        list(Files(str(fill() / "nowhere")))


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
    [("nowhere/*.jpg", "there is no folder .*nowhere$"), ("[z-a].jpg", "makes no sense: bad character range z-a")],
)
def test_patterns_that_cannot_be(fill: Callable[..., Path], pattern: str, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        glob(f"{fill()}/{pattern}")

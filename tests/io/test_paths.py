from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText, canonical


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("~/x", "{home}/x"),
        ("~", "{home}"),
        ("./~/x", "./~/x"),
        ("a~b", "a~b"),
        ("file:///a%20b/c", "/a b/c"),
        ("FILE:///p/", "/p/"),
        ("file://localhost/p", "/p"),
        ("file:/p", "/p"),
        ("file://elsewhere/p", "file://elsewhere/p"),
        ("s3://bucket/~/x", "s3://bucket/~/x"),
        ("photos/**/*.jpg", "photos/**/*.jpg"),
    ],
)
def test_paths_and_uris(given: str, read: str, home: str) -> None:
    assert TypeAdapter(PathText).validate_python(given) == read.format(home=home)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("coca_ViT-B-32:~/x.pt", "coca_ViT-B-32:{home}/x.pt"),
        ("hub/model+~/x.pth", "hub/model+{home}/x.pth"),
        ("~/a+~/b.pth", "{home}/a+{home}/b.pth"),
        ("hf-hub:laion/model", "hf-hub:laion/model"),
        ("coca_ViT-L-14:laion2b_s13b_b90k", "coca_ViT-L-14:laion2b_s13b_b90k"),
        ("miniature", "miniature"),
    ],
)
def test_weights(given: str, read: str, home: str) -> None:
    assert TypeAdapter(WeightsText).validate_python(given) == read.format(home=home)


def test_local_paths_must_not_be_uris() -> None:
    with pytest.raises(ValidationError, match="local path, not a URI"):
        TypeAdapter(LocalPath).validate_python("s3://bucket/captions.json")
    assert TypeAdapter(LocalPath).validate_python("file:///c.json") == "/c.json"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/such/dir/x.html", "there is no folder .*no/such/dir; create it first"),
        ("folder", "this is a folder; name a file"),
        ("new/", "this is a folder; name a file"),
        ("", "this is a folder; name a file"),
        ("file.txt/x", "there is no folder .*file.txt"),
        ("s3://bucket/x.html", "not a URI"),
        ("/proc/x.html", "it cannot be written"),
        ("a" * 300, "it cannot be written: File name too long"),
        ("dangling", "it cannot be written"),
    ],
)
def test_unwritable_reports_are_refused_and_nothing_is_created(path: str, reason: str, home: str) -> None:
    (Path(home) / "folder").mkdir()
    (Path(home) / "file.txt").write_text("kept")
    (Path(home) / "dangling").symlink_to("no/such/target")
    before = sorted(os.listdir(home))
    with pytest.raises(ValidationError, match=reason):
        TypeAdapter(ReportPath).validate_python(path)
    assert sorted(os.listdir(home)) == before


def test_a_read_only_report_is_refused(home: str) -> None:
    place = Path(home) / "locked"
    place.mkdir()
    (place / "old.html").write_text("old")
    (place / "old.html").chmod(0o444)
    place.chmod(0o555)
    if os.access(place, os.W_OK):
        pytest.skip("this user may write anywhere")
    for name in ("new.html", "old.html"):
        with pytest.raises(ValidationError, match="it cannot be written: Permission denied"):
            TypeAdapter(ReportPath).validate_python(str(place / name))


def test_writable_reports_are_accepted(home: str) -> None:
    old = Path(home) / "old.html"
    old.write_text("old")
    os.mkfifo(Path(home) / "pipe")
    for path in ("old.html", "new.html", "~/new.html", "pipe", "/dev/null"):
        assert TypeAdapter(ReportPath).validate_python(path) == path.replace("~", home)
    assert old.read_text() == "old"
    assert sorted(os.listdir(home)) == ["old.html", "pipe"]


@pytest.mark.parametrize(
    "form", ["{p}", "{p}/", "{p}//", "file://{p}", "file://{p}/", "p", "./p/", "q/../p", "~/p", "/{p}"]
)
def test_every_spelling_of_a_folder_has_one_canonical_form(form: str, home: str) -> None:
    assert canonical(form.format(p=f"{home}/p")) == f"{home}/p"


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("s3://bucket/a/", "s3://bucket/a"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("s3://bucket/a b", "s3://bucket/a%20b"),
        ("s3://bucket/a%20b", "s3://bucket/a%20b"),
        ("s3://bucket/a//b/../c", "s3://bucket/a//b/../c"),
        ("s3://bucket/a/?region=eu-west-1", "s3://bucket/a?region=eu-west-1"),
        ("s3://bucket", "s3://bucket"),
        ("/", "/"),
    ],
)
def test_canonical_form_of_a_uri(given: str, form: str) -> None:
    assert canonical(given) == form

"""Folders of an S3 bucket: listed as pyarrow lists them, and large ones without keeping all names."""

from __future__ import annotations

import json

import pytest

from pipeline.datasets.photos import folder_walk
from pipeline.datasets.photos.folder_entries import Entries, bucket_entries, remote_entries
from pipeline.datasets.photos.folder_walk import FolderWalk
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.io.locations import locate
from pipeline.io.s3 import S3Bucket
from tests.buckets.many_objects import pretended
from tests.buckets.s3_server import S3Server

pytestmark = pytest.mark.cluster
NAMES = ["b.jpg", "a-b.jpg", "a/1.jpg", "a/2.jpg", "a.jpg", "ü/x y?.jpg", ".hidden.jpg", "raw/r.jpg", "z/deep/er/1.jpg"]


@pytest.fixture
def photos(s3: S3Server) -> str:
    s3.make_bucket("listed")
    for name in NAMES:
        s3.client().put_object(Bucket="listed", Key=f"photos/{name}", Body=b"x" * len(name))
    s3.client().put_object(Bucket="listed", Key="photos/", Body=b"")  # as some tools mark folders
    manifest = {"fingerprint": "", "identity": {}, "encoder": {}, "counts": {}}
    s3.client().put_object(Bucket="listed", Key="photos/set/manifest.json", Body=json.dumps(manifest).encode())
    s3.client().put_object(Bucket="listed", Key="photos/set/x.jpg", Body=b"x")
    return "s3://listed/photos"


def test_a_folder_has_the_entries_that_pyarrow_sees(photos: str) -> None:
    filesystem, path = locate(photos)
    for folder in (path, f"{path}/a", f"{path}/nothing", "listed"):
        expected = Entries([], set(), set(), {}, []) if "nothing" in folder else remote_entries(filesystem, folder)
        assert bucket_entries(S3Bucket.of(photos), folder) == expected


@pytest.mark.parametrize("whole", [1, 3, 1000])
def test_a_large_folder_is_walked_like_any_other(photos: str, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(folder_walk, "bucket_entries", lambda bucket, folder: bucket_entries(bucket, folder, whole))
    walk = FolderWalk(photos, rules=SourceRules(exclude=("raw",)))
    files = {file.name: file.size for file in walk.files()}
    assert files == {name: len(name) for name in NAMES if not name.startswith((".", "raw"))}
    assert [line.partition(":")[0].split(" ", 1)[1] for line in walk.skipped.lines()] == [
        line.partition(":")[0].split(" ", 1)[1] for line in FolderWalk_of(photos).lines()
    ]


def FolderWalk_of(photos: str) -> object:
    walk = FolderWalk(photos, rules=SourceRules(exclude=("raw",)))
    list(walk)
    return walk.skipped


def test_a_folder_of_very_many_begins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended(1_000_000_000, folder_size=1_000_000_000) as url:
        for name, value in {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
            monkeypatch.setenv(name, value)
        files = FolderWalk("s3://bucket/photos").files()
        assert [next(files).name for _ in range(30_000)][-1] == "0000/0029999.jpg"
        files.close()


def test_a_bucket_that_cannot_be_listed_is_told(s3: S3Server) -> None:
    with pytest.raises(QpertError, match=r"^cannot read the folder s3://nowhere/x \(.*NoSuchBucket"):
        bucket_entries(S3Bucket.of("s3://nowhere/x"), "nowhere/x")

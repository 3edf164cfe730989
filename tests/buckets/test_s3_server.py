"""The server of the tests is one: what pyarrow writes, another client reads, and keys can be told apart."""

from __future__ import annotations

import pytest
from pyarrow import fs

from tests.buckets.s3_server import S3Server, s3_server

pytestmark = pytest.mark.cluster


def test_what_one_client_writes_another_reads(s3: S3Server) -> None:
    s3.make_bucket("seen")
    filesystem, path = fs.FileSystem.from_uri("s3://seen/folder/file")
    with filesystem.open_output_stream(path) as stream:
        stream.write(b"content")
    assert s3.names("seen") == ["folder/file"]
    assert s3.client().get_object(Bucket="seen", Key="folder/file")["Body"].read() == b"content"


@pytest.mark.slow
def test_a_strict_server_refuses_other_keys(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("--strict", "--objects", "3") as strict:
        assert strict.names("bucket") == [f"many/000/000000{number}.jpg" for number in range(3)]
        for name, value in (strict.environment() | {"AWS_ACCESS_KEY_ID": "AKIAOTHER"}).items():
            monkeypatch.setenv(name, value)
        filesystem, path = fs.FileSystem.from_uri("s3://bucket/many")
        with pytest.raises(OSError, match=r"INVALID_ACCESS_KEY_ID|ACCESS_DENIED"):
            filesystem.get_file_info(fs.FileSelector(path, recursive=True))

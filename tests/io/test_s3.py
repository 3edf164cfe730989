"""What is told within seconds about a bucket that cannot be used, by a real server where one is needed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.io.locations import Folder, locate
from pipeline.io.s3 import S3Bucket, ask_buckets
from tests.buckets.s3_server import S3Server, s3_server

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def strict() -> Iterator[S3Server]:
    pytest.importorskip("moto")
    with s3_server("--strict") as server:
        yield server


def use(server: S3Server, monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in (server.environment() | changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("bucket", "changes", "message"),
    [
        ("bucket", {"AWS_ACCESS_KEY_ID": "AKIAOTHER"}, "does not know this access key: check AWS_ACCESS_KEY_ID"),
        ("bucket", {"AWS_SECRET_ACCESS_KEY": "other"}, "the secret does not belong to this access key"),
        ("nowhere", {}, "there is no such bucket: create it"),
        ("bucket", {"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not be found"),
        ("bucket", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "no answer from bucket bucket at http://127.0.0.1:9"),
        ("bucket", {"AWS_ENDPOINT_URL": "http://nowhere.invalid"}, "no answer from bucket bucket at http://nowhere"),
    ],
)
def test_what_is_wrong_is_told_within_seconds(
    strict: S3Server, monkeypatch: pytest.MonkeyPatch, bucket: str, changes: dict[str, str], message: str
) -> None:
    use(strict, monkeypatch, **changes)
    started = time.monotonic()
    with pytest.raises(QpertError, match=message):
        ask_buckets({"photos": {"root": [f"s3://{bucket}/photos"]}})
    assert time.monotonic() - started < 15


def test_a_server_that_is_silent_is_told_within_seconds(strict: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(strict, monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(QpertError, match="no answer from"):
            ask_buckets("s3://bucket/photos")
        assert time.monotonic() - started < 20


def test_keys_come_from_a_profile_or_the_environment_as_for_pyarrow(
    strict: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"[team]\naws_access_key_id={strict.key}\naws_secret_access_key={strict.secret}\n")
    (tmp_path / "config").write_text("[profile team]\nregion = us-east-1\n")
    files = {
        "AWS_PROFILE": "team",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    none: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_REGION": None}
    use(strict, monkeypatch, **files, **none)
    used(strict, "s3://bucket/by-profile")
    monkeypatch.delenv("AWS_PROFILE")
    use(strict, monkeypatch, AWS_ENDPOINT_URL=None, AWS_ENDPOINT_URL_S3=strict.url, AWS_REGION=None)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    used(strict, "s3://bucket/by-environment")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    used(strict, f"s3://bucket/by-options?scheme=http&endpoint_override={strict.url[7:]}&region=eu-west-1")


def used(server: S3Server, root: str) -> None:
    """Writes a file with pyarrow under a lock of boto3."""
    folder = Folder.open(root)
    with folder.exclusive():
        folder.write_atomically("file", b"x")
    prefix = root.removeprefix("s3://bucket/").partition("?")[0]
    assert sorted(server.names("bucket", f"{prefix}/")) == [f"{prefix}/.lock", f"{prefix}/file"]


def test_without_keys_requests_are_not_signed(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use(s3, monkeypatch, AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    s3.make_bucket("anyone")
    used_bucket = S3Bucket.of("s3://anyone/x")
    requests: list[dict[str, str]] = []
    used_bucket.client.meta.events.register("before-send.s3", lambda request, **_: requests.append(request.headers))
    used_bucket.ask("s3://anyone/x")
    assert len(requests) == 1
    assert "Authorization" not in requests[0]
    assert Folder.open("s3://anyone/x").read("nothing") is None


def test_each_bucket_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(S3Bucket, "ask", lambda self, uri: asked.append(uri))
    ask_buckets({"photos": "s3://one/a", "out": "s3://one/b", "features": ["/data/x", "s3://two/x?region=eu-west-1"]})
    assert asked == ["s3://one/a", "s3://two/x?region=eu-west-1"]


def test_one_file_system_serves_a_bucket_until_the_environment_changes(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, path = locate("s3://bucket/a b/ü?.jpg")
    assert path == "bucket/a b/ü?.jpg"
    assert locate("s3://bucket/other")[0] is first
    assert locate("s3://bucket/other?region=eu-west-1")[0] is not first
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert locate("s3://bucket/other")[0] is not first
    assert os.environ["AWS_ENDPOINT_URL"] == s3.url

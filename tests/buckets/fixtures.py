"""A pytest plugin: `s3`, a server shared by all tests of a session, for tests marked `cluster`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buckets.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3_session() -> Iterator[S3Server]:
    """The server itself; takes any key."""
    pytest.importorskip("moto", reason="moto[server] is not installed: pip install 'qpert[dev]'")
    pytest.importorskip("flask", reason="moto[server] is not installed: pip install 'qpert[dev]'")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_session: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """What ``s3://`` means in this process and in those it starts (but not in a Ray session that is already up)."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_session.environment().items():
        monkeypatch.setenv(name, value)
    return s3_session

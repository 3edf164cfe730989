"""Who is answered: the Host header, the token, and requests that pages of other sites make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipeline.errors import QpertError
from pipeline.serving.access import host_name, read_token

TOKEN = "0123456789abcdef"
CLOSED = ("/sets", "/photos/axes/1.png", "/thumbnails/axes/1.png", "/metrics", "/indices-list")


@pytest.fixture
def guarded(make_client: Callable[..., TestClient], axes: str) -> TestClient:
    return make_client(axes, token=TOKEN)


@pytest.mark.parametrize("address", CLOSED)
def test_a_token_is_demanded(guarded: TestClient, address: str) -> None:
    answer = guarded.get(address)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorised"
    assert guarded.get(address, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xff"]
)
def test_other_tokens_are_refused(guarded: TestClient, header: str) -> None:
    assert (
        guarded.post("/search", json={"text": "0"}, headers={"authorization": header.encode("latin-1")}).status_code
        == 401
    )
    assert guarded.get(f"/sets?token={TOKEN}").status_code == 401


def test_the_page_and_the_health_are_open(guarded: TestClient) -> None:
    assert guarded.get("/healthz").json() == {"status": "ok", "sets": {}}
    assert guarded.get("/docs").status_code == guarded.get("/openapi.json").status_code == 200
    assert guarded.get("/").status_code == guarded.get("/page/icon.svg").status_code == 200


def test_paths_that_begin_like_open_ones_are_closed(guarded: TestClient) -> None:
    for path in ("/pagex", "/healthz/x", "/page", "/page/../sets", "/healthz/../sets", "/page/..%2Fsets"):
        assert guarded.get(path).status_code in (401, 404)
    assert guarded.get("/page/..%2F..%2Fsettings.py").status_code == 404


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST", "photos.example:1"])
def test_names_of_this_server_are_answered(make_client: Callable[..., TestClient], axes: str, host: str) -> None:
    client = make_client(axes, hosts=["127.0.0.1", "photos.example"])
    assert client.get("/sets", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "[::2]"])
def test_other_names_are_refused(make_client: Callable[..., TestClient], axes: str, host: str) -> None:
    answer = make_client(axes, hosts=["127.0.0.1"]).get("/sets", headers={"host": host})
    assert answer.status_code == 403
    assert "allow-host" in answer.json()["error"]["message"]


def test_requests_of_other_sites_are_refused(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "origin": "https://evil.example"}
    assert client.get("/thumbnails/axes/1.png", headers=headers).status_code == 403
    assert client.get("/", headers=headers | {"sec-fetch-mode": "navigate"}).status_code == 200
    answer = client.get("/sets", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    # A form of another site comes as navigation as well.
    form = client.post("/search", json={"text": "0"}, headers=headers | {"sec-fetch-mode": "navigate"})
    assert form.status_code == 403


def test_open_paths_are_open_for_reading_alone(guarded: TestClient) -> None:
    assert guarded.get("/").status_code == 200
    assert guarded.post("/", content=b"x").status_code == 401
    assert guarded.post("/page/css/base.css", content=b"x").status_code == 401


def test_host_names() -> None:
    assert [host_name(text) for text in ("A.b:80", "[::1]:80", " x ", "x.", "")] == ["a.b", "::1", "x", "x", ""]


def test_a_token_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(str(tmp_path / "token")) == TOKEN


@pytest.mark.parametrize("text", ["", "short", "two words and more of them", "x" * 2000, "ü" * 20, f"{TOKEN}\n{TOKEN}"])
def test_a_bad_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(QpertError, match="must hold one line"):
        read_token(str(tmp_path / "token"))
    with pytest.raises(QpertError, match="cannot read --token-file"):
        read_token(str(tmp_path / "none"))

"""Limits: how often, how large, how slow, and how many at once; bad requests get an error of the API's shape."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from pipeline.serving.limits import RateLimit, RequestLimits


def test_a_client_has_a_burst_and_then_a_rate() -> None:
    limit = RateLimit(rate=2, burst=3)
    assert [limit.wait("a", now=0.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait("a", now=0.0) == pytest.approx(0.5)
    assert limit.wait("b", now=0.0) == 0
    assert limit.wait("a", now=0.5) == 0
    assert limit.wait("a", now=0.5) == pytest.approx(0.5)
    assert [limit.wait("a", now=100.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait("a", now=100.0) > 0


def test_clients_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serving.limits._CLIENTS", 10)
    limit = RateLimit(rate=1, burst=1)
    for number in range(100):
        limit.wait(str(number), now=0.0)
    assert len(limit._clients) == 10


def test_too_many_searches_are_refused(make_client: Callable[..., TestClient], axes: str) -> None:
    client = make_client(axes, rate=0.1, burst=2)
    codes = [client.post("/search", json={"text": "0"}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    answer = client.post("/search", json={"text": "0"})
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/sets").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"text": NaN}',
        b'{"text": "0", "min_score": NaN}',
        b'{"text": "0", "min_score": Infinity}',
        b'{"text": "0", "min_score": 1e999}',
        b'{"text": "0", "k": 1e999}',
        b'{"text": "0", "k": -1}',
        b'{"text": "0", "k": 501}',
        b'{"text": "0", "k": "5"}',
        b'{"text": "0", "k": true}',
        b'{"text": "0", "k": 99999999999999999999999999999999}',
        b'{"text": "\\ud800"}',
        b'{"text": "0", "set": "\\udfff"}',
        b'{"text": "\xff"}',
        b'{"text": ""}',
        b'{"text": "  "}',
        b'{"text": ["0"]}',
        b'{"text": "0", "unknown": 1}',
        b'{"text": "0", "cursor": "../../etc/passwd"}',
        b'{"text": "0", "cursor": "99999.0000000000000000.000000000000"}',
        b'{"terms": [{"text": "0", "image": "AAAA"}]}',
        b'{"terms": [{"image_id": "1.png", "box": [0.5, 0, 0.5, 1]}]}',
        b'{"terms": [{"image_id": "1.png", "box": [0, 0, 1]}]}',
        b'{"terms": [{"image": "!!!!"}]}',
        b'{"terms": [{"image": "AAAAA"}]}',
        b'{"text": "0", "filters": {"path": ["[z-a]"]}}',
        b'{"text": "0", "filters": {"has": [""]}}',
        b"[" * 100_000,
        b'{"filters":' * 10_000,
        b'{"text": "' + b"x" * 3_000 + b'"}',
        json.dumps({"terms": [{"text": "0"}] * 17}).encode(),
        json.dumps({"terms": [{"image_id": "x" * 5_000}]}).encode(),
    ],
)
def test_bad_json_is_refused(client: TestClient, body: bytes) -> None:
    for path in ("/search", "/knn-service", "/metadata"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422, (path, answer.text)
        assert set(answer.json()["error"]) == {"code", "message"}
        assert len(answer.text) < 3_000


@pytest.mark.parametrize("path", ["/search", "/knn-service", "/metadata"])
def test_masses_of_values_are_refused_at_once(client: TestClient, path: str) -> None:
    body = b"{" + b",".join(b'"a%d":1' % number for number in range(300_000)) + b"}"
    started = time.perf_counter()
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "more than 20,000 values" in answer.text
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded", "image/png"]
)
def test_other_content_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/search", content=b'{"text": "0"}', headers={"content-type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"files": {"image": b"no photo"}}, 422),
        ({"files": {"image": b""}}, 422),
        ({"files": {"other": b"x"}}, 422),
        ({"files": [("image", b"x"), ("image", b"y")]}, 422),
        ({"files": {"query": b"{}"}}, 422),
        ({"files": {"image": b"x"}, "data": {"query": "{"}}, 422),
        ({"files": {"image": b"x"}, "data": {"query": "{}", "more": "1"}}, 422),
        ({"files": {"image": b"x"}, "data": {"query": "x" * 2_000_000}}, 422),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 422),
        ({"content": b"no parts", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 422),
    ],
)
def test_bad_forms_are_refused(client: TestClient, fields: dict[str, Any], status: int) -> None:
    answer = client.post("/search", **fields)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}


def test_large_requests_are_refused(make_client: Callable[..., TestClient], axes: str) -> None:
    client = make_client(axes, max_body=2_000)
    assert client.post("/search", json={"text": "0" * 1_900}).status_code == 200
    assert client.post("/search", json={"text": "0" * 2_100}).status_code == 413
    answer = client.post("/search", content=iter([b"x" * 1_500] * 3), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def request(body: list[bytes], *, seconds: float = 0.0) -> tuple[Scope, Receive]:
    """A request whose parts come `seconds` apart."""
    parts = list(body)

    async def receive() -> Message:
        await asyncio.sleep(seconds)
        part = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    return {"type": "http", "method": "POST", "path": "/", "headers": [], "client": ("1.2.3.4", 5)}, receive


async def status_of(app: RequestLimits, scope: Scope, receive: Receive) -> int:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


def limited_without_reading() -> RequestLimits:
    """Of an app that never looks at the body, as the routes of GET."""

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return RequestLimits(work, max_body=100, rate=None, concurrent=2, timeout=5.0)


def limited(seconds: float = 0.0, **limits: Any) -> RequestLimits:
    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    chosen = {"max_body": 100, "rate": None, "concurrent": 2, "timeout": 5.0, "body_patience": 5.0} | limits
    return RequestLimits(work, **chosen)


def test_slow_bodies_are_refused() -> None:
    app = limited(body_patience=0.1)
    assert anyio.run(status_of, app, *request([b"x"] * 50, seconds=0.02)) == 408
    assert app._bytes == app._inside == 0


def test_slow_bodies_take_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serving.limits.WAITING", 1)

    async def ask() -> tuple[int, int]:
        app = limited(concurrent=2)
        slow = [asyncio.create_task(status_of(app, *request([b"x", b"y"], seconds=0.5))) for _ in range(50)]
        await asyncio.sleep(0.1)
        post = await status_of(app, *request([b"x"]))
        scope, receive = request([b"x"] * 9, seconds=9.0)
        get = await asyncio.wait_for(status_of(limited_without_reading(), scope | {"method": "GET"}, receive), 1)
        for task in slow:
            task.cancel()
        return post, get

    assert asyncio.run(ask()) == (200, 200)


def test_slow_work_is_given_up() -> None:
    assert anyio.run(status_of, limited(seconds=2.0, timeout=0.1), *request([b"x"])) == 503


def test_too_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serving.limits.WAITING", 1)

    async def ask() -> list[int]:
        app = limited(seconds=0.2, concurrent=2)
        return await asyncio.gather(*(status_of(app, *request([b"x"])) for _ in range(10)))

    codes = asyncio.run(ask())
    assert codes.count(200) == 4
    assert codes.count(503) == 6


def test_the_memory_of_all_bodies_is_limited() -> None:
    async def ask() -> list[int]:
        app = limited(concurrent=50)
        codes = await asyncio.gather(*(status_of(app, *request([b"x" * 99, b"y"], seconds=0.05)) for _ in range(20)))
        assert app._bytes == 0
        return codes

    codes = asyncio.run(ask())
    assert set(codes) == {200, 503}

"""The app as a whole: documentation, figures, headers, the log, and errors of every kind in one shape."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from pipeline.serving.page_files import POLICY


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "/search" in answer.text
    assert "SearchRequest" in answer.text
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", answer.text)
    assert "<script" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_openapi_document_names_all_models(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert named <= set(document["components"]["schemas"])
    assert {"SearchRequest", "SearchAnswer", "KnnRequest"} <= named


def test_the_page_may_load_only_its_own(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in re.findall(r"(?:src|href)=\"(page/[^\"]+)\"", answer.text):
        assert client.get(f"/{path}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nothing", "/photos", "/photos/axes", "/page/none.js", "/search/x", "/../etc/passwd"]
)
def test_unknown_paths_have_an_error(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GARBAGE"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    answer = client.request(method, "/search")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_figures_are_counted_by_route(client: TestClient) -> None:
    client.post("/search", json={"text": "0"})
    client.get("/thumbnails/axes/1.png")
    client.get("/photos/axes/none.png")
    client.get("/some/other/path")
    text = client.get("/metrics").text
    assert 'qpert_requests_total{method="POST",route="/search",status="200"} 1.0' in text
    assert 'route="/photos/{set}/{image_id:id}",status="404"} 1.0' in text
    assert 'qpert_requests_total{method="GET",route="other",status="404"} 1.0' in text
    assert 'qpert_search_seconds_count{stage="find"} 1.0' in text
    assert 'qpert_set_photos{set="axes"} 4.0' in text
    assert "some/other" not in text


def test_texts_are_logged_only_if_asked_for(
    make_client: Callable[..., TestClient], axes: str, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> str:
        return "\n".join(line.getMessage() for line in caplog.records if line.name.startswith("pipeline."))

    with caplog.at_level(logging.INFO):
        make_client(axes).post("/search?q=secret2", json={"text": "secret"})
    assert "POST /search 200" in logged()
    assert "secret" not in logged()
    with caplog.at_level(logging.INFO):
        make_client(axes, log_queries=True).post("/search", json={"text": "secret\x1b[31m"})
    assert "secret\\x1b[31m" in logged()


def test_a_made_up_address_forges_no_line_of_the_log(
    make_client: Callable[..., TestClient], axes: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(axes)
    app = client.app

    async def behind_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope | {"client": ("\x1b[31m1.2.3.4 GET /made-up 200 " + "x" * 1_000, 0)}, receive, send)

    with caplog.at_level(logging.INFO):
        TestClient(behind_proxy).get("/healthz")
    line = next(line.getMessage() for line in caplog.records if line.name == "pipeline.serving.access")
    assert "\x1b" not in line
    assert len(line.split(" ")) == 6
    assert len(line) < 100


def test_a_fault_says_nothing_of_the_insides(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("inside information")

    service = client.app.state.service  # type: ignore[attr-defined]
    monkeypatch.setattr(service.searcher, "answer", fail)
    answer = client.post("/search", json={"text": "0"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "inside" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"

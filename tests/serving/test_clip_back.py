"""The API of clip-back: what clip-front sends, and the shape that it reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

FROM_CLIP_FRONT = {
    "text": "2",
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "modality": "image",
    "num_images": 2,
    "indice_name": "axes",
    "num_result_ids": 3000,
    "use_mclip": False,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "aesthetic_score": "",
    "aesthetic_weight": "0.5",
}
"""The body that `clip-service.js` makes, key by key."""


def knn(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    # fetch() sends a string as text/plain; clip-back reads it as JSON all the same.
    body = json.dumps(FROM_CLIP_FRONT | changes)
    answer = client.post("/knn-service", content=body, headers={"content-type": "text/plain;charset=UTF-8"})
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def test_a_text_is_answered_in_its_shape(client: TestClient) -> None:
    assert client.get("/indices-list").json() == ["axes"]
    results = knn(client)
    assert len(results) == 4
    assert [set(result) for result in results[:2]] == [{"image_path", "url", "id", "similarity"}] * 2
    assert [set(result) for result in results[2:]] == [{"id", "similarity"}] * 2
    assert results[0]["image_path"] == "2.png"
    assert results[0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert all(isinstance(result["id"], int) and result["id"] < 2**53 for result in results)
    assert client.get(results[0]["url"]).status_code == 200


def test_metadata_come_later(client: TestClient) -> None:
    results = knn(client)
    asked = {"ids": [result["id"] for result in results[2:]], "indice_name": "axes"}
    answer = client.post("/metadata", content=json.dumps(asked)).json()
    assert [found["id"] for found in answer] == asked["ids"]
    names = {found["metadata"]["image_path"] for found in answer}
    assert names == {"0.png", "1.png", "2.png", "3.png"} - {result["image_path"] for result in results[:2]}
    stale = client.post("/metadata", json={"ids": [results[0]["id"] ^ 1 << 35], "indice_name": "axes"})
    assert stale.status_code == 409
    unknown = client.post("/metadata", json={"ids": [results[0]["id"] | 1 << 20], "indice_name": "axes"})
    assert unknown.status_code == 404


def test_photos_and_embeddings_are_searched_for(client: TestClient, photos: Path) -> None:
    data = base64.b64encode((photos / "3.png").read_bytes()).decode()
    assert knn(client, text="", image=data)[0]["image_path"] == "3.png"
    assert knn(client, text=None, image=data.rstrip("="))[0]["image_path"] == "3.png"
    assert knn(client, text=None, embedding_input=[0, 5, 0, 0])[0]["image_path"] == "1.png"


def test_duplicates_are_left_out(
    make_client: Callable[..., TestClient], write_features: Callable[..., Any], photos: Path
) -> None:
    vectors = [[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 1, 0, 0]]]
    client = make_client(write_features(vectors, ["0.png", "1.png", "2.png"], folder=photos, name="axes").root)
    assert [found["image_path"] for found in knn(client, text="0", num_images=3)] == ["0.png", "2.png"]
    assert len(knn(client, text="0", num_images=3, deduplicate=False)) == 3


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:8000/photos",
        "file:///etc/passwd",
        "https://example.com/thumbnails/x",
        "/etc/passwd",
        "",
    ],
)
def test_addresses_are_not_fetched(client: TestClient, address: str) -> None:
    answer = client.post("/knn-service", json=FROM_CLIP_FRONT | {"text": "", "image_url": address})
    assert answer.status_code == 422
    assert "fetches no addresses" in answer.json()["error"]["message"]


def test_an_address_of_this_server_is_looked_up(client: TestClient) -> None:
    url = knn(client)[0]["url"]
    for address in (url, f"http://testserver{url}"):
        assert knn(client, text="", image_url=address)[0]["image_path"] == "2.png"


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "text"},
        {"use_mclip": True},
        {"aesthetic_score": "9"},
        {"text": "", "image": None},
        {"text": " "},
        {"num_result_ids": 10_001},
        {"text": None, "embedding_input": [1, 2]},
        {"text": None, "embedding_input": [0, 0, 0, 0]},
        {"text": None, "image": "not base64!"},
        {"unknown": 1},
    ],
)
def test_what_is_not_there_is_refused(client: TestClient, changes: dict[str, Any]) -> None:
    assert client.post("/knn-service", json=FROM_CLIP_FRONT | changes).status_code == 422


def test_an_unknown_index_is_said(client: TestClient) -> None:
    assert client.post("/knn-service", json=FROM_CLIP_FRONT | {"indice_name": "x"}).status_code == 404
    assert client.post("/metadata", json={"ids": [], "indice_name": "x"}).status_code == 404

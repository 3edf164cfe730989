"""`POST /search`: what is found, page by page, in one set and beside another."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipeline.serving.searching import addresses


def search(client: TestClient, **request: Any) -> dict[str, Any]:
    answer = client.post("/search", json=request)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def names(answer: dict[str, Any]) -> list[str]:
    return [result["image_id"] for result in answer["results"]]


def problem(client: TestClient, status: int, **request: Any) -> str:
    answer = client.post("/search", json=request)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    return str(answer.json()["error"]["message"])


def test_a_text_finds_its_photo(client: TestClient) -> None:
    answer = search(client, text="2", k=1)
    (result,) = answer["results"]
    assert (result["image_id"], result["rank"], result["set"]) == ("2.png", 1, "axes")
    assert result["score"] == pytest.approx(1, abs=1e-3)
    assert result["objects"][0]["label"] == "dog"
    assert result["objects"][0]["box"] == pytest.approx([0.1, 0.1, 0.3, 0.4])
    assert (result["width"], result["height"]) == (64, 48)
    assert client.get(result["photo"]).status_code == client.get(result["thumbnail"]).status_code == 200
    assert answer["notes"] == []


def test_pages_follow_each_other(client: TestClient) -> None:
    whole = names(search(client, text="1", k=4))
    first = search(client, text="1", k=3)
    second = search(client, text="1", k=3, cursor=first["cursor"])
    assert names(first) + names(second) == whole
    assert [result["rank"] for result in second["results"]] == [4]
    assert second["cursor"] is None


def test_a_cursor_of_another_query_is_refused(client: TestClient) -> None:
    cursor = search(client, text="1", k=1)["cursor"]
    assert "another query" in problem(client, 422, text="2", k=1, cursor=cursor)
    assert "changed" in problem(client, 409, text="1", k=1, cursor=cursor.replace(cursor.split(".")[1], "0" * 16))


def test_a_photo_is_searched_for(client: TestClient, photos: Path) -> None:
    data = (photos / "3.png").read_bytes()
    assert names(search(client, terms=[{"image": base64.b64encode(data).decode()}], k=1)) == ["3.png"]
    answer = client.post("/search", files={"image": data}, data={"query": '{"k": 1}'})
    assert names(answer.json()) == ["3.png"]
    assert names(search(client, terms=[{"image_id": "1.png"}], k=1)) == ["1.png"]
    assert names(search(client, terms=[{"image_id": "1.png", "box": [0, 0, 0.5, 0.5]}], k=1)) == ["1.png"]


def test_terms_are_added_up(client: TestClient) -> None:
    answer = search(client, text="0", terms=[{"text": "1"}, {"text": "2", "weight": -1}])
    assert sorted(names(answer)[:2]) == ["0.png", "1.png"]
    assert names(answer)[-1] == "2.png"


def test_filters_leave_photos_out(client: TestClient) -> None:
    assert names(search(client, text="0", filters={"has": ["dog"]})) == ["2.png"]
    assert names(search(client, text="0", filters={"path": ["[01].png"]})) == ["0.png", "1.png"]
    assert "reversed" in problem(client, 422, text="0", filters={"taken_from": "2021", "taken_to": "2020"})


def test_what_cannot_be_answered_is_said(client: TestClient) -> None:
    assert "nothing to look for" in problem(client, 422)
    assert "no such set" in problem(client, 404, text="0", set="others")
    assert "9.png" in problem(client, 422, terms=[{"image_id": "9.png"}])
    assert "not an image" in problem(client, 422, terms=[{"image": "AAAA"}])
    assert "weight" in problem(client, 422, terms=[{"text": "0", "weight": 0}])
    assert "at most 4 photos" in problem(client, 422, terms=[{"image_id": "1.png", "box": [0, 0, 1, 1]}] * 5)


def test_two_sets_are_compared(
    make_client: Callable[..., TestClient], write_features: Callable[..., Any], photos: Path, axes: str
) -> None:
    vectors = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0.8, 0.2, 0, 0], [0, 0, 0, 1]])[:, None]
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    other = write_features(vectors, ["2.png", "1.png", "0.png", "x.png"], folder=photos, name="other").root
    client = make_client(axes, other)
    results = search(client, text="0", compare="other")["results"]
    moved = {result["image_id"]: (result["rank"], result["compared_rank"], result["moved"]) for result in results}
    assert moved["0.png"] == (1, 3, 2)
    assert moved["3.png"][1:] == (None, None)
    # The same id and the same file: what the searched set has stored of it is taken.
    assert names(search(client, terms=[{"image_id": "1.png", "set": "other"}], k=1)) == ["1.png"]


@pytest.mark.parametrize("image_id", ["../../etc/passwd", "a b?c#d.jpg", "ü/100%.jpg", "a//b", "..", "%2e%2e/x"])
def test_addresses_keep_ids_whole(client: TestClient, image_id: str) -> None:
    photo, _ = addresses("s", image_id)
    assert photo.count("/") == 3
    assert "?" not in photo
    answer = client.get(addresses("axes", image_id)[0])
    assert answer.status_code == 404

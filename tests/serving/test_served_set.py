"""Sets that change while they are served: answers are of the old or of the new set, and never of both."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipeline.features.removing import removed_rows
from pipeline.features.store import FeatureStore
from pipeline.serving import served_set
from pipeline.serving.errors import RequestError
from pipeline.serving.models import SearchRequest
from pipeline.serving.service import Service
from tests.features.stored import MARK, Source, commit, ids_in, make_set, manifest, rows_of_photos, some_photos

EVERYTHING = SearchRequest(text="0", k=500)


@pytest.fixture(autouse=True)
def quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_set, "SECOND_LOOK", 0.05)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "source", 40)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    make_set(str(tmp_path / "set"), source)
    return str(tmp_path / "set")


def found(service: Service) -> frozenset[str]:
    return frozenset(result.image_id for result in service.searcher.answer(EVERYTHING).results)


def add(out: str, source: Source, first: int, count: int) -> None:
    for number in range(first, first + count):
        source.put(f"{number}.jpg", b"photo %d" % number)
    commit(out, f"later_{first}", rows_of_photos(source, [f"{n}.jpg" for n in range(first, first + count)]))
    manifest(out, counts=FeatureStore(out).note_committed(MARK).counts())


def prune(out: str, names: list[str]) -> None:
    files = FeatureStore(out).files(MARK)
    rows = [
        (name, found) for name, table in files.tables([]) for found in table["image_id"].to_pylist() if found in names
    ]
    FeatureStore(out).remove_rows(MARK, removed_rows(rows, "gone"))


def test_added_and_pruned_photos_are_seen(make_service: Callable[..., Service], out: str, source: Source) -> None:
    service = make_service(out)
    served = service.catalogue.get(None)
    before = served.current()
    assert len(found(service)) == 40
    assert served.check()
    assert served.current() is before
    add(out, source, 40, 5)
    assert len(found(service)) == 40
    assert served.check()
    assert len(found(service)) == 45
    prune(out, ["3.jpg", "41.jpg"])
    assert served.check()
    assert found(service) == {f"{number}.jpg" for number in range(45)} - {"3.jpg", "41.jpg"}
    assert before.info.photos == 40
    assert served.current().version != before.version


def test_a_set_that_is_gone_comes_back(make_client: Callable[..., TestClient], out: str, axes: str) -> None:
    client = make_client(out, axes, names=["set", "axes"])
    served = client.app.state.service.catalogue.get("set")  # type: ignore[attr-defined]
    os.rename(out, f"{out}.away")
    assert not served.check()
    answer = client.post("/search", json={"text": "0"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "holds no features" in answer.json()["error"]["message"]
    assert "retry-after" in answer.headers
    assert client.get("/photos/set/1.jpg").status_code == 503
    assert client.post("/search", json={"text": "0", "set": "axes"}).status_code == 200
    assert client.post("/search", json={"text": "0", "set": "axes", "compare": "set"}).status_code == 503
    assert client.get("/healthz").json()["status"] == "degraded"
    problems = {info["name"]: info["problem"] for info in client.get("/sets").json()["sets"]}
    assert problems["axes"] is None
    assert "holds no features" in problems["set"]
    assert 'qpert_set_up{set="set"} 0.0' in client.get("/metrics").text
    os.rename(f"{out}.away", out)
    assert served.check()
    assert client.post("/search", json={"text": "0"}).status_code == 200
    assert client.get("/healthz").json() == {"status": "ok", "sets": {"set": "ok", "axes": "ok"}}


def test_a_set_that_is_damaged_comes_back(make_service: Callable[..., Service], out: str) -> None:
    service = make_service(out)
    served = service.catalogue.get(None)
    whole = Path(out, "manifest.json").read_bytes()
    Path(out, "manifest.json").write_bytes(whole[:100])
    assert not served.check()
    with pytest.raises(RequestError, match="is damaged"):
        found(service)
    Path(out, "manifest.json").write_bytes(whole)
    assert served.check()
    assert len(found(service)) == 40


def test_a_cursor_of_before_is_refused(make_service: Callable[..., Service], out: str, source: Source) -> None:
    service = make_service(out)
    first = service.searcher.answer(SearchRequest(text="0", k=5))
    second = SearchRequest(text="0", k=5, cursor=first.cursor)
    assert service.searcher.answer(second).results[0].rank == 6
    add(out, source, 40, 5)
    service.catalogue.get(None).check()
    with pytest.raises(RequestError, match="has changed") as caught:
        service.searcher.answer(second)
    assert caught.value.status == 409


@pytest.mark.slow
def test_answers_are_of_one_state(make_service: Callable[..., Service], out: str, source: Source) -> None:
    """Photos are added, pruned, compacted and indexed anew, again and again, while several threads search."""
    service = make_service(out, reload=0.02)
    states, seen, faults = {frozenset(ids_in(out))}, [], []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.append(found(service))
            except RequestError as error:
                faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    service.catalogue.start_watching()
    for thread in threads:
        thread.start()
    try:
        for turn in range(3):
            add(out, source, 100 * (turn + 1), 7)
            states.add(frozenset(ids_in(out)))
            wait_for(service, frozenset(ids_in(out)))
            prune(out, [f"{100 * (turn + 1)}.jpg", f"{turn}.jpg"])
            states.add(frozenset(ids_in(out)))
            wait_for(service, frozenset(ids_in(out)))
            FeatureStore(out).compact()
            # Indexed anew: another folder with other photos takes its place.
            fresh = some_photos(source.folder.parent / f"source{turn}", 10 + turn)
            make_set(f"{out}.new", fresh)
            os.rename(out, f"{out}.old")
            os.rename(f"{out}.new", out)
            shutil.rmtree(f"{out}.old")
            states.add(frozenset(ids_in(out)))
            wait_for(service, frozenset(ids_in(out)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(seen) <= states
    assert len(set(seen)) >= 7
    assert {error.status for error in faults} <= {503}


def wait_for(service: Service, wanted: frozenset[str]) -> None:
    for _ in range(500):
        try:
            if found(service) == wanted:
                return
        except RequestError:
            pass
        threading.Event().wait(0.02)
    raise AssertionError(f"{len(wanted)} photos never came")

"""Sets that change while they are served: answers are of the old or of the new set, and never of both."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

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


def prune(out: str, source: Source, names: list[str]) -> None:
    FeatureStore(out).remove_rows(MARK, rows_of_photos(source, names).select(["image_id"]).append_column(*file_column(out, names)))


def file_column(out: str, names: list[str]) -> Any:
    raise NotImplementedError

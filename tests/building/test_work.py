"""Calls in this process and as Ray tasks: results as they come, repeated where that helps, errors as they were."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.building.work import here, on_ray
from pipeline.errors import QpertError
from pipeline.features.damage import Damage, DamagedFileError


def add(offset: int, number: int) -> int:
    return offset + number


def test_results_come_with_their_numbers() -> None:
    assert list(here(add, [(1,), (2,)], shared=(10,))) == [(0, 11), (1, 12)]


def test_tasks_give_the_same(ray_cpu: None) -> None:
    items = [(number,) for number in range(20)]
    results = dict(on_ray(add, items, shared=(10,), cpus=16, memory=2**50))  # more than any node has
    assert results == {number: 10 + number for number in range(20)}
    assert list(on_ray(add, [], shared=(10,))) == []


def test_errors_of_storage_are_tried_again_and_others_are_not(ray_cpu: None, tmp_path: Path) -> None:
    def shaky(folder: str, failures: int) -> int:
        attempt = len(os.listdir(folder))
        Path(folder, str(attempt)).touch()
        if attempt < failures:
            raise OSError("the storage does not answer")
        return attempt

    assert list(on_ray(shaky, [(2,)], shared=(str(tmp_path),))) == [(0, 2)]
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(QpertError, match=r"a task failed 3 times .OSError: the storage does not answer"):
        list(on_ray(shaky, [(9,)], shared=(str(other),)))

    def hopeless() -> None:
        raise QpertError("a file is damaged")

    with pytest.raises(QpertError, match=r"^a file is damaged$"):
        list(on_ray(hopeless, [()]))


def test_a_task_whose_worker_dies_is_repeated(ray_cpu: None, tmp_path: Path) -> None:
    def deadly(folder: str, number: int) -> int:
        mark = Path(folder, str(number))
        if number % 3 == 0 and not mark.exists():
            mark.touch()
            os._exit(1)
        return number

    results = dict(on_ray(deadly, [(number,) for number in range(6)], shared=(str(tmp_path),)))
    assert results == {number: number for number in range(6)}


def test_waiting_is_told(ray_cpu: None) -> None:
    def slow() -> None:
        time.sleep(1.2)

    waited: list[float] = []
    list(on_ray(slow, [()], waiting=waited.append))
    assert len(waited) >= 2
    assert max(waited) >= 0.5


def test_an_error_that_cannot_be_sent_keeps_its_message(write_features: Any) -> None:
    import pickle

    from pipeline.building.shards import _plain

    error = DamagedFileError(Damage("part0-0.parquet", 3, "gone"), "features")
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(error))
    assert pickle.loads(pickle.dumps(_plain(error))).args == error.args

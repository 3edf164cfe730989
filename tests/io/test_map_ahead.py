"""Mapping in threads: in order, and only a few items ahead."""

from __future__ import annotations

import pytest

from pipeline.io.map_ahead import map_ahead


def test_results_are_in_order_and_few_calls_run_ahead() -> None:
    started: list[int] = []

    def call(item: int) -> int:
        started.append(item)
        return 2 * item

    results = map_ahead(call, range(20), 3)
    for number, result in enumerate(results):
        assert result == 2 * number
        assert len(started) <= number + 4
    assert number == 19


def test_an_error_is_raised_in_its_place() -> None:
    results = map_ahead(lambda item: 1 // item, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_to_map() -> None:
    assert list(map_ahead(str, [], 2)) == []

"""Percentiles, rates, recall and memory of a search are computed right."""

from __future__ import annotations

import mmap
import threading
import time

import numpy as np
import pytest

from pipeline.benchmarks.search_figures import Latency, queries_per_second, recall, resident, time_each


def test_percentiles_are_measured_times_by_nearest_rank():
    seconds = [number / 1000 for number in range(100, 0, -1)]
    assert Latency.of(seconds) == Latency(50.0, 95.0, 99.0)
    assert Latency.of([0.004]) == Latency(4.0, 4.0, 4.0)
    assert Latency.of([0.001] * 19 + [0.1]) == Latency(1.0, 1.0, 100.0)


def test_recall_is_the_mean_share_of_the_right_photos():
    right = [["a", "b"], ["c", "d"], []]
    assert recall([["b", "a"], ["c", "x"], ["y"]], right) == 0.75
    assert recall([[], [], []], right) == 0
    assert np.isnan(recall([[]], [[]]))


def test_every_query_is_timed_in_order():
    asked: list[int] = []
    assert len(time_each(asked.append, [3, 1, 2])) == 3
    assert asked == [3, 1, 2]


def test_the_rate_counts_the_answers_of_all_clients():
    lock, names, count = threading.Lock(), set(), 0

    def search(query: int) -> None:
        nonlocal count
        with lock:
            count += 1
            names.add(threading.current_thread().name)
        time.sleep(0.002)

    start = time.perf_counter()
    rate = queries_per_second(search, [1, 2, 3], clients=4, seconds=0.2)
    longest = time.perf_counter() - start
    assert len(names) == 4
    assert count / longest <= rate <= count / 0.2


def test_an_error_of_a_client_ends_the_measurement():
    def search(query: int) -> None:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        queries_per_second(search, [1], clients=2, seconds=30)


def test_memory_of_its_own_grows_by_what_is_taken():  # mapped anew, never what was in use before
    before = resident()
    with mmap.mmap(-1, 2**25, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(b"1" * 2**25)
        assert resident().own - before.own > 2**24

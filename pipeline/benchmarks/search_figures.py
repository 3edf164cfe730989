"""Figures of a search: percentiles of times, queries per second, recall and memory."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CLIENTS = (1, 8, 32)
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of single queries: medians and the slowest twentieth and hundredth begin there."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """The percentiles of some measured times, each one of the times (nearest rank)."""
        values = np.percentile(np.asarray(seconds) * 1000, [50, 95, 99], method="inverted_cdf")
        return cls(*values.tolist())


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process in bytes.

    Attributes:
        own: of its own, which nothing else can use; without distinction, all, where the system does not tell.
        files: pages of mapped files, which the system takes back when it needs memory.
    """

    own: int
    files: int


def resident() -> Memory:
    """The memory of this process now."""
    if _STATUS.exists():
        sizes = dict(re.findall(r"^(Rss\w+):\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE))
        return Memory(1024 * int(sizes["RssAnon"]), 1024 * (int(sizes["RssFile"]) + int(sizes["RssShmem"])))
    return Memory(psutil.Process().memory_info().rss, 0)


def time_each(search: Callable[[Any], object], queries: Sequence[Any]) -> list[float]:
    """Seconds of each query, one after the other."""
    seconds = []
    for query in queries:
        start = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - start)
    return seconds


def queries_per_second(search: Callable[[Any], object], queries: Sequence[Any], clients: int, seconds: float) -> float:
    """The rate at which so many threads are answered, each of which asks again as soon as it has an answer.

    Args:
        search: answers a query; called from all threads.
        queries: asked in turn, from a different one on in each thread.
        clients: threads.
        seconds: after which no more queries are asked; those under way count, and their time.

    Raises:
        Exception: what `search` raised first.
    """
    counts = [0] * clients
    errors: list[Exception] = []
    begun = time.perf_counter()

    def ask(client: int) -> None:
        number = client * len(queries) // clients
        try:
            while time.perf_counter() - begun < seconds and not errors:
                search(queries[number % len(queries)])
                number += 1
                counts[client] += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - begun)


def recall(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float:
    """The share of the right photos that were found, on average over the queries.

    Args:
        found: ids per query.
        right: ids per query, of the exact search.
    """
    shares = [len(set(few) & set(all_)) / len(all_) for few, all_ in zip(found, right, strict=True) if all_]
    return float(np.mean(shares)) if shares else float("nan")

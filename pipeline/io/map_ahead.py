"""Mapping over slow storage in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(call: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """The results of `call` for each item, in order, at most `threads` calls ahead of their consumer.

    Unlike `ThreadPoolExecutor.map` this holds only so many results in memory.
    """
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(call, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

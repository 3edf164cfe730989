"""Calls of one function on many items: one after the other in this process, or as Ray tasks.

Both yield results as they come, so that what is done is shown and kept at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from pipeline.errors import QpertError, one_line
from pipeline.io.retrying import transient, was_retried
from pipeline.printing import printable

logger = logging.getLogger(__name__)
T = TypeVar("T")
TRIES = 3
"""Attempts at one item that fails with an error that may not last; dead workers and nodes are Ray's to replace."""
_RETRIES = 20
"""How often Ray repeats a task whose worker or node has died."""
_WAIT = 0.5
_AHEAD = 2
"""Tasks that are submitted for each CPU of the cluster: those that run, and as many that wait for them."""


class Work(Protocol):
    """A way to make the calls."""

    def __call__(
        self,
        function: Callable[..., T],
        items: Sequence[tuple[Any, ...]],
        *,
        shared: tuple[Any, ...] = (),
        cpus: int = 1,
        memory: int = 0,
        waiting: Callable[[float], object] = lambda seconds: None,
    ) -> Iterator[tuple[int, T]]:
        """Yields the number of each item and the result of `function(*shared, *item)`, as they come.

        Args:
            function: takes and returns plain data.
            items: further arguments of each call.
            shared: arguments that all calls have.
            cpus: CPU cores that a call reserves, at most; fewer where no node has so many.
            memory: bytes that a call reserves.
            waiting: called now and then with the seconds since the last result.
        """


def here(
    function: Callable[..., T],
    items: Sequence[tuple[Any, ...]],
    *,
    shared: tuple[Any, ...] = (),
    cpus: int = 1,
    memory: int = 0,
    waiting: Callable[[float], object] = lambda seconds: None,
) -> Iterator[tuple[int, T]]:
    """In this process, in order: see `Work`."""
    for number, item in enumerate(items):
        waiting(0.0)
        yield number, function(*shared, *item)


def on_ray(
    function: Callable[..., T],
    items: Sequence[tuple[Any, ...]],
    *,
    shared: tuple[Any, ...] = (),
    cpus: int = 1,
    memory: int = 0,
    waiting: Callable[[float], object] = lambda seconds: None,
) -> Iterator[tuple[int, T]]:
    """As tasks of the current Ray session, spread over its nodes: see `Work`.

    A task whose worker or node dies is repeated by Ray; one that fails with an error of storage, here.

    Raises:
        QpertError: raised by the function, or a task that failed again and again.
    """
    import ray

    reserved = _fitting(cpus, memory)
    task = ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD", **reserved)(function)
    references = [ray.put(value) for value in shared]
    todo = list(reversed(range(len(items))))
    running: dict[Any, int] = {}
    failures: dict[int, int] = {}
    since = time.monotonic()
    try:
        while todo or running:
            while todo and len(running) < _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))):
                number = todo.pop()
                running[task.remote(*references, *items[number])] = number
            done, _ = ray.wait(list(running), timeout=_WAIT)
            waiting(time.monotonic() - since)
            for reference in done:
                number = running.pop(reference)
                try:
                    result: T = ray.get(reference)
                except ray.exceptions.RayError as error:
                    failures[number] = failures.get(number, 0) + 1
                    _may_try_again(error, failures[number])
                    todo.append(number)
                    continue
                since = time.monotonic()
                yield number, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _may_try_again(error: BaseException, failed: int) -> None:
    """Returns if another attempt makes sense; raises what the user should read otherwise."""
    import ray

    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    if isinstance(cause, QpertError):
        raise cause from None
    if isinstance(error, ray.exceptions.RayTaskError) and not transient(cause):
        raise error from None
    if failed >= TRIES or was_retried(cause):
        raise QpertError(
            f"a task failed {failed} times ({one_line(cause)}); run the same command again to go on with what is done;"
            " --verbose shows more"
        ) from error
    logger.warning(f"a task failed ({printable(one_line(cause))}); trying it again")


def _fitting(cpus: int, memory: int) -> dict[str, Any]:
    """What a task reserves: no more than the largest node has, or it would wait forever."""
    from pipeline.cluster.ray_compat import nodes

    alive = [node["Resources"] for node in nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    most_cpus = max((int(node["CPU"]) for node in alive), default=1)
    most_memory = max((int(node.get("memory", 0)) for node in alive), default=0)
    reserved = {"num_cpus": min(cpus, most_cpus)}
    return reserved | ({"memory": min(memory, most_memory)} if memory and most_memory else {})

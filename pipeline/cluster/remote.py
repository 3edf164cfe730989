"""Running one function as a Ray task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.cluster.machines import SMALL
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import result_of
from pipeline.errors import QpertError

T = TypeVar("T")


def run_as_task(
    what: str,
    function: Callable[..., T],
    *arguments: Any,
    address: str | None = None,
    cpus: int | None = None,
    verbose: bool = False,
    gpus: float = 0,
    retries: int = 3,
) -> T:
    """Calls a function in a Ray task, in a session of its own unless there is one, and returns its result.

    Args:
        what: name of the work, for messages while it is waited for.
        function: takes and returns plain data.
        arguments: of the function.
        address: see `ray_session`.
        cpus: see `ray_session`.
        verbose: see `ray_session`.
        gpus: GPUs that the task reserves.
        retries: how often the task is repeated if its worker dies.

    Raises:
        QpertError: raised by the function; other errors are a `RayTaskError`.
    """
    with ray_session(address, cpus=cpus, verbose=verbose):
        import ray  # after `ray_session`, which sets environment variables that Ray reads when it is imported

        task = ray.remote(num_cpus=SMALL, num_gpus=gpus, max_retries=retries)(function)
        try:
            result: T = result_of(task.remote(*arguments), what)
        except ray.exceptions.RayTaskError as error:
            # Only the cause: the message around it holds a traceback from the worker.
            raise error.cause if isinstance(error.cause, QpertError) else error from None
    return result

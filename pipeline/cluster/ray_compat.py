"""Every private or unstable name of Ray's that the project relies on, so that an upgrade of Ray shows in one place.

Unstable are underscored names, environment variables, wordings of errors, and Ray's developer API. Each has a test in
`tests/cluster/test_ray_compat.py`. Lower rooms, which cannot import this file, keep their own: `stages.read`
(`ReadTask`, `BlockMetadata`), `io.writable` (`RAY_JOB_CONFIG_JSON_ENV_VAR`) and `features.checkpoint` (file names).
Beta names that Ray documents, such as Tune's `create_searcher`, stand where they are used.

Ray is imported inside the functions, as it reads some of the variables below on import, and not all commands need it.
"""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import fs

ACCELERATOR = "ray.io/accelerator-type"
"""Node label for the type of a node's GPUs."""
NODE_ID = "ray.io/node-id"
"""Node label for its id."""
HEAD_NODE = "node:__internal_head__"
"""Resource, of amount 1, that only the head node has."""
SUBMITTED_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable in the driver of a job from `ray job submit`."""
SESSION_VARIABLES = {
    # A task that reserves no GPU still sees those of its node.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers start slowly on a busy machine; after a minute Ray would start more of them, which makes it slower still.
    "RAY_worker_register_timeout_seconds": "300",
    # Ray would run workers at a low priority, behind everything else on the machine.
    "RAY_worker_niceness": "0",
}
"""Environment variables of every session."""
QUIET_VARIABLES = {
    "RAY_DATA_LOG_LEVEL": "ERROR",
    # Ray's C++ prints its errors on our standard error, among them that the actors of every pool of Ray Data have
    # arguments in the object store. What fails is raised as an exception all the same.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Further variables of a session that is not verbose."""
LOCAL_VARIABLES = {
    # Nobody reads the metrics of such a session, and their ports answer without a token.
    "RAY_enable_metrics_collection": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # How long Ray's processes wait for each other; the default is a few seconds, too short on a busy machine.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "120000",
}
"""Environment variables of a session that is started on this machine."""
TUNE_VARIABLES = {
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # updates its record every second
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # keeps relative paths valid
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C aborts the search; Tune would end it as if it were complete
}
"""Environment variables of Ray Tune."""
TUNE_SNAPSHOT = "experiment_state-*.json"
"""Files in which Ray Tune saves the state of an experiment; without one, `Tuner.restore` fails."""
_SLOW = ("timed out", "timeout", "overloaded", "failed to connect to gcs", "unavailable", "may have failed to start")
"""What Ray says, in lower case, when one of its own processes was too slow."""
_REPORTED_BY_US = ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state")
"""Loggers of the error that ends a run, which we report ourselves."""


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones included: "Alive", "NodeID", "Resources" (name -> total) and "Labels"."""
    import ray

    return ray.nodes()  # type: ignore[no-untyped-call, no-any-return]


def free_resources() -> dict[str, dict[str, float]]:
    """Unreserved resources of each node, by its id. Ray's public function knows only the sum over all nodes."""
    import ray

    return ray._private.state.available_resources_per_node()  # type: ignore[no-any-return]


def total_and_free() -> tuple[dict[str, float], dict[str, float]]:
    """The resources of all nodes together, and those that are unreserved; one that is used up is missing there."""
    import ray

    return ray.cluster_resources(), ray.available_resources()


def this_node() -> dict[str, str]:
    """Label selector for tasks and actors that must run on the caller's node."""
    import ray

    return {NODE_ID: ray.get_runtime_context().get_node_id()}


def request_gpus(kinds: Sequence[str]) -> None:
    """Asks the autoscaler, if there is one, for a GPU of each type. Replaces earlier requests; () withdraws them."""
    from ray.autoscaler.sdk import request_resources

    selectors = {"bundle_label_selectors": [{ACCELERATOR: kind} for kind in kinds]} if kinds else {}
    request_resources(bundles=[{"GPU": 1}] * len(kinds), **selectors)


def local_folders(session: str, objects: str) -> dict[str, str]:
    """Arguments of `ray.init`: the folder of a session's sockets and logs, and that of its shared objects."""
    return {"_temp_dir": session, "_plasma_directory": objects}


def start_ray(**settings: Any) -> None:
    """Calls `ray.init`. Unless workers' messages are wanted, what its C++ prints meanwhile is discarded.

    It announces that it has read RAY_BACKEND_LOG_LEVEL. Failures are exceptions, which pass.
    """
    import ray

    if settings.get("log_to_driver", True):
        ray.init(**settings)
        return
    try:
        before = os.dup(2)
    except OSError:  # closed
        ray.init(**settings)
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        ray.init(**settings)
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextmanager
def on_loopback() -> Iterator[None]:
    """Makes 127.0.0.1 the address of a session started in this context, so its servers are unreachable from elsewhere.

    Ray does so itself on systems where it forms no clusters. An argument `_node_ip_address` of 127.0.0.1 does not help,
    since Ray replaces it by the address that the network sees.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def local_environment() -> Iterator[None]:
    """Sets `LOCAL_VARIABLES` and an access token for a session started in this context; what the user has set stays.

    Ray itself would write one token for all sessions to the home folder, readable by everybody. It sets RAY_AUTH_MODE
    when a session starts, and caches mode and token for later ones; both caches are emptied afterwards.
    """
    from ray._private.authentication import authentication_token_setup as authentication

    before = {name: os.environ.get(name) for name in (*LOCAL_VARIABLES, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    for name, value in LOCAL_VARIABLES.items():
        os.environ.setdefault(name, value)
    if not before["RAY_AUTH_TOKEN"] and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    loader = authentication.AuthenticationTokenLoader.instance()
    loader.reset_cache()  # of an earlier session
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
        loader.reset_cache()
        authentication.Config.initialize("")


def is_slow_start(error: BaseException) -> bool:
    """Whether `ray.init` failed because Ray's own processes were slow, judging by the wording of the error."""
    return isinstance(error, TimeoutError) or any(words in str(error).lower() for words in _SLOW)


def checkpoint_config(
    path: str,
    filesystem: fs.FileSystem,
    load: Callable[[], npt.NDArray[Any]],
    keep: Callable[[pa.Table, npt.NDArray[Any]], pa.Table],
) -> Any:
    """A checkpoint configuration of Ray Data that skips what `load` says is done.

    Args:
        path: the folder of the checkpoint in `filesystem`; it must exist, or Ray filters nothing.
        filesystem: of the checkpoint.
        load: returns what is done; called in the driver, before Ray reads the source.
        keep: returns the rows of a block of the source that are not done; called in an actor.
    """
    import ray
    from ray.data.checkpoint import CheckpointConfig, CheckpointFilter, CheckpointManager

    class Manager(CheckpointManager):  # type: ignore[misc]
        def load_checkpoint(self, *_: Any, **__: Any) -> tuple[Any, int]:
            done = load()
            return (ray.put(done), done.nbytes) if len(done) else (None, 0)

    class Filter(CheckpointFilter):  # type: ignore[misc]
        def __init__(self, config: Any, checkpoint_ref: Any) -> None:
            super().__init__(config, checkpoint_ref)
            self.done: npt.NDArray[np.generic] = ray.get(checkpoint_ref)

        def filter_rows_for_block(self, block: pa.Table) -> pa.Table:
            return keep(block, self.done)

    config = CheckpointConfig(
        id_column="image_id",
        checkpoint_path=path,
        override_filesystem=filesystem,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=Manager,
        checkpoint_filter_cls=Filter,
    )
    # What the filter's only actor reserves; Ray raises it to what a larger `done` needs.
    config.checkpoint_actor_memory_bytes = 64 * 1024**2
    config.checkpoint_actor_pool_max_size = 1
    return config


@contextmanager
def data_settings(checkpoint: Any, *, verbose: bool, patience: float) -> Iterator[None]:
    """Ray Data's settings for the datasets made in this context. Ray ignores settings whose names it does not know.

    Args:
        checkpoint: made by `checkpoint_config`.
        verbose: show Ray Data's progress bars, messages and advice; its log files have the latter two in any case.
        patience: seconds without progress after which an execution fails with `execution_timeout`.
    """
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = verbose
    if not verbose:
        context.issue_detectors_config.detectors = []
    context.target_max_block_size = 16 * 1024**2
    # The newer reader starts up to 32 actors, each with a core of its own, to look at our one listing.
    context.use_datasource_v2 = False
    context.execution_no_progress_timeout_s = patience
    # Our file systems already retry; a second layer around them made sixty tries out of six.
    context.retried_io_errors = []
    context.checkpoint_config = checkpoint
    with DataContext.current(context), warnings.catch_warnings():
        if not verbose:
            warnings.filterwarnings("ignore", module=r"ray\.data")
            for name in list(logging.root.manager.loggerDict):
                if name == "ray.data" or name.startswith("ray.data."):
                    logging.getLogger(name).setLevel(logging.ERROR)
            for name in _REPORTED_BY_US:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        yield


def execution_timeout() -> type[Exception]:
    """The class of Ray Data's error for an execution that makes no progress, see `data_settings`."""
    from ray.data.exceptions import ExecutionTimeoutError

    return ExecutionTimeoutError  # type: ignore[no-any-return]


def searchers_and_schedulers() -> tuple[list[str], list[str]]:
    """The names that Ray Tune's `create_searcher` and `create_scheduler` take."""
    from ray.tune.schedulers import SCHEDULER_IMPORT
    from ray.tune.search import SEARCH_ALG_IMPORT

    return list(SEARCH_ALG_IMPORT), list(SCHEDULER_IMPORT)

"""Each unstable name of Ray's still exists and means what `pipeline.cluster.ray_compat` takes it to mean."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import io
import ipaddress
import json
import logging
import os
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from pyarrow import fs

from pipeline.cluster import ray_compat
from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.features.checkpoint import _PENDING, stem
from pipeline.io.writable import check_writable
from pipeline.stages.read import ShardSource
from pipeline.workers.reporting import Reporter

RAYLET = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
PYTHON_VARIABLES = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "ray._private.accelerators.accelerator",
    "RAY_DATA_LOG_LEVEL": "ray.data._internal.logging",
    "RAY_USAGE_STATS_ENABLED": "ray._common.usage.usage_constants",
    "RAY_gcs_server_port_wait_time_s": "ray._private.node",
    "TUNE_GLOBAL_CHECKPOINT_S": "ray.tune.execution.tune_controller",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "ray.tune.execution.tune_controller",
    "TUNE_DISABLE_SIGINT_HANDLER": "ray.tune.tune",
    "RAY_AIR_NEW_OUTPUT": "ray.tune.experimental.output",
    "RAY_CHDIR_TO_TRIAL_DIR": "ray.train.constants",
}
"""Variables that Ray reads in Python, and the modules that do; its executables in C++ read the others."""
VARIABLES = (
    ray_compat.SESSION_VARIABLES | ray_compat.QUIET_VARIABLES | ray_compat.LOCAL_VARIABLES | ray_compat.TUNE_VARIABLES
)


@pytest.mark.parametrize("name", VARIABLES)
def test_ray_reads_the_environment_variable(name: str) -> None:
    if name in PYTHON_VARIABLES:
        assert f'"{name}"' in inspect.getsource(importlib.import_module(PYTHON_VARIABLES[name]))
    else:
        assert name.encode() in RAYLET.read_bytes()


def test_submitted_jobs_are_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    assert ray_compat.SUBMITTED_JOB == RAY_JOB_CONFIG_JSON_ENV_VAR
    monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    with pytest.raises(QpertError, match="working folder of a submitted job"):
        check_writable("features")


def test_accelerator_label_is_ray_s_own() -> None:
    assert ray_compat.ACCELERATOR == ray._raylet.RAY_NODE_ACCELERATOR_TYPE_KEY


@pytest.mark.usefixtures("ray_cpu")
def test_nodes_tell_their_id_resources_and_labels() -> None:
    (node,) = ray_compat.nodes()
    assert node["Alive"] is True
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()
    assert node["Labels"][ray_compat.NODE_ID] == node["NodeID"]
    assert (node["Resources"]["CPU"], node["Resources"][ray_compat.HEAD_NODE]) == (2.0, 1.0)
    assert node["Resources"]["memory"] > 2**20  # in bytes


@pytest.mark.usefixtures("ray_cpu")
def test_reserved_cpus_are_not_free_and_a_task_can_be_kept_on_this_node() -> None:
    class Actor:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    here = ray_compat.this_node()[ray_compat.NODE_ID]
    actor = ray.remote(Actor).options(num_cpus=0.5, label_selector=ray_compat.this_node()).remote()
    assert ray.get(actor.node.remote()) == here
    end = time.monotonic() + 60
    while (free := ray_compat.free_resources()[here]["CPU"]) != 1.5 and time.monotonic() < end:
        time.sleep(0.1)  # other tests' actors end, and the cluster hears of it, with some delay
    total, unreserved = ray_compat.total_and_free()
    ray.kill(actor)
    assert free == 1.5
    assert (total["CPU"], unreserved["CPU"]) == (2.0, 1.5)


@pytest.mark.usefixtures("ray_cpu")
def test_a_task_for_a_node_that_does_not_exist_never_runs() -> None:
    def run() -> None:
        pass

    task = ray.remote(num_cpus=0)(run).options(label_selector={ray_compat.NODE_ID: "0" * 56}).remote()
    with pytest.raises(ray.exceptions.RayError):
        ray.get(task, timeout=2)
    ray.cancel(task, force=True)


@pytest.mark.usefixtures("ray_cpu")
def test_the_autoscaler_is_asked_for_gpus_and_no_longer() -> None:
    from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
    from ray.experimental.internal_kv import _internal_kv_get

    ray_compat.request_gpus(["A100", "V100"])
    requested = json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL))
    ray_compat.request_gpus([])
    assert requested == [{"GPU": 1}, {"GPU": 1}]
    assert json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL)) == []


def test_what_native_code_prints_while_ray_starts_is_discarded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "init", lambda **settings: os.write(2, b"a native message\n"))
    ray_compat.start_ray(log_to_driver=False)
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"
    ray_compat.start_ray()
    assert capfd.readouterr().err == "a native message\n"

    def fail(**settings: object) -> None:
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ConnectionError, match="no cluster"):
        ray_compat.start_ray(log_to_driver=False)
    os.write(2, b"after a failure\n")
    assert capfd.readouterr().err == "after a failure\n"


def test_ray_init_takes_the_folders_of_a_session() -> None:
    """What they hold is seen in `test_local_ray`, which starts a session in them."""
    source = inspect.getsource(ray._private.worker.init)
    assert [name for name in ray_compat.local_folders("session", "objects") if f'pop("{name}"' not in source] == []


def test_a_session_can_be_kept_on_the_loopback_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants, services

    monkeypatch.setattr(ray._private.worker, "_global_node", None)
    before = ray_constants.ENABLE_RAY_CLUSTER
    with ray_compat.on_loopback():
        assert ipaddress.ip_address(services.get_node_ip_address()).is_loopback
    assert ray_constants.ENABLE_RAY_CLUSTER is before is True


TOKENS = """
import os
from ray._private.authentication import authentication_token_setup as authentication
from pipeline.cluster import ray_compat

def state():
    token = authentication.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    return token, authentication.get_authentication_mode() == authentication.AuthenticationMode.TOKEN

print(state(), [name for name in ray_compat.LOCAL_VARIABLES if name in os.environ])
for _ in range(2):
    with ray_compat.local_environment():
        authentication.enable_token_auth_by_default()  # as ray.init does
        print(state(), len(os.environ["RAY_AUTH_TOKEN"]))
    print(state(), [name for name in os.environ if name.startswith("RAY_AUTH")])
"""


def test_a_session_has_a_token_of_its_own_that_does_not_outlive_it(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", TOKENS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    within, after = "(True, True) 64", "(False, False) []"
    assert done.stdout.splitlines() == [after, within, after, within, after]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("ray._private.node", "The current node timed out during startup."),
        ("ray._private.node", "or the GCS has become overloaded."),
        ("ray._private.services", "seconds while waiting for node to startup."),
        ("ray._private.state", "Failed to connect to GCS."),
    ],
)
def test_ray_words_a_slow_start_like_this(module: str, words: str) -> None:
    assert words in inspect.getsource(importlib.import_module(module))
    assert ray_compat.is_slow_start(TimeoutError(words) if module.endswith("services") else Exception(words))


def write(folder: Path, numbers: list[int], patience: float = 60.0, seconds: float = 0.0) -> list[str]:
    """Writes five rows through Ray Data, except those of the `numbers` that are done; returns the ids written."""

    def keep(block: pa.Table, done: Any) -> pa.Table:
        return block.filter(pa.array([int(name) not in done for name in block["image_id"].to_pylist()]))

    def wait(table: pa.Table) -> pa.Table:
        time.sleep(seconds)
        return table

    pq.write_table(pa.table({"image_id": [str(number) for number in range(5)]}), folder / "source.parquet")
    (folder / "checkpoint").mkdir()
    files = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    checkpoint = ray_compat.checkpoint_config("checkpoint", files, partial(np.array, numbers, np.int64), keep)
    with ray_compat.data_settings(checkpoint, verbose=False, patience=patience):
        rows = ray.data.read_parquet(str(folder / "source.parquet")).map_batches(wait, batch_format="pyarrow")
        rows.write_parquet("out", filesystem=files)
    tables = [pq.read_table(path) for path in (folder / "out").glob("*.parquet")]
    return sorted(name for table in tables for name in table["image_id"].to_pylist())


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.parametrize(("done", "left"), [([], ["0", "1", "2", "3", "4"]), ([1, 2], ["0", "3", "4"])])
def test_ray_data_skips_what_is_done_and_commits_what_it_writes(
    tmp_path: Path, done: list[int], left: list[str]
) -> None:
    assert write(tmp_path, done) == left
    written = {stem(path.name) for path in (tmp_path / "out").glob("*.parquet")}
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {f"{name}.parquet" for name in written}


def test_files_that_ray_data_has_begun_to_write_are_pending() -> None:
    from ray.data.checkpoint.checkpoint_writer import PENDING_CHECKPOINT_SUFFIX

    assert PENDING_CHECKPOINT_SUFFIX == _PENDING


@pytest.mark.usefixtures("ray_cpu")
def test_an_execution_without_progress_ends_with_a_timeout(tmp_path: Path) -> None:
    with pytest.raises(ray_compat.execution_timeout()):
        write(tmp_path, [], patience=1.0, seconds=15.0)


def test_ray_data_knows_all_of_our_settings_and_loggers() -> None:
    from ray.data import DataContext
    from ray.data._internal.issue_detection.issue_detector import IssueDetector

    fresh = DataContext()
    assert all(issubclass(detector, IssueDetector) for detector in fresh.issue_detectors_config.detectors)
    assert fresh.issue_detectors_config.detectors
    before = vars(DataContext.get_current()).copy()
    with ray_compat.data_settings(None, verbose=False, patience=7.0):
        context = DataContext.get_current()
        assert vars(context).keys() == vars(fresh).keys()
        assert context.issue_detectors_config.detectors == []
        assert type(context.use_datasource_v2) is type(fresh.use_datasource_v2) is bool
        assert context.execution_no_progress_timeout_s == 7.0
        for name in ray_compat._REPORTED_BY_US:
            assert importlib.import_module(name).logger is logging.getLogger(name)
            assert logging.getLogger(name).level == logging.CRITICAL
    assert vars(DataContext.get_current()).keys() == before.keys()
    with ray_compat.data_settings(None, verbose=True, patience=7.0):
        assert DataContext.get_current().enable_progress_bars
        assert DataContext.get_current().issue_detectors_config.detectors


@pytest.mark.usefixtures("ray_cpu")
def test_ray_data_reads_a_datasource_of_ours(tmp_path: Path) -> None:
    """`ReadTask` and `BlockMetadata`, which stand in `pipeline.stages.read`: one task for each shard."""
    for shard in ("0.tar", "1.tar"):
        with tarfile.open(tmp_path / shard, "w") as tar:
            for name in ("a.jpg", "b.jpg"):
                info = tarfile.TarInfo(name)
                info.size = 5
                tar.addfile(info, io.BytesIO(b"xxxxx"))
    source = find_photos(str(tmp_path))
    assert isinstance(source, Shards)
    photos = ray.data.read_datasource(ShardSource(source.shards, 8, Reporter()), override_num_blocks=2).materialize()
    assert photos.num_blocks() == 2
    assert sorted(row["image_id"] for row in photos.take_all()) == [
        "0.tar/a.jpg",
        "0.tar/b.jpg",
        "1.tar/a.jpg",
        "1.tar/b.jpg",
    ]


def test_ray_tune_lists_its_searchers_and_schedulers() -> None:
    from ray.tune.schedulers import ASHAScheduler, create_scheduler

    searchers, schedulers = ray_compat.searchers_and_schedulers()
    assert "optuna" in searchers
    assert {"fifo", "async_hyperband"} <= set(schedulers)
    assert isinstance(create_scheduler("async_hyperband"), ASHAScheduler)


def test_ray_tune_saves_the_state_of_an_experiment_in_such_files() -> None:
    from ray.tune.execution.tune_controller import TuneController

    name = TuneController.CKPT_FILE_TMPL.format("2026-01-01_00-00-00")
    assert fnmatch.fnmatch(name, ray_compat.TUNE_SNAPSHOT)

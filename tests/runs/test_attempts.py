"""Attempts: which errors end a run, which cause another attempt, and on which machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool, plan_pools
from pipeline.cluster.rescaling import Pace
from pipeline.cluster.waiting import NamedGpus
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.runs import attempts as module
from pipeline.runs.attempts import Attempts, pace_of, readable
from pipeline.runs.run_stats import RunStats


def execute(graph: object, run_actor: object, *, verbose: bool) -> None:
    """Nothing."""


class Wrapped(RuntimeError):
    """As Ray's errors: the cause is an attribute."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"ray::Map() failed\n{cause}")
        self.cause = cause


def test_the_cause_is_unwrapped_from_errors_of_ray() -> None:
    inner = QpertError("the encoder does not work here")
    assert readable(Wrapped(Wrapped(inner))) is inner
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert readable(outer) is inner


def test_the_cause_is_found_in_a_traceback() -> None:
    text = (
        "The actor died because of an error raised in its creation task, ray::MapWorker.__init__()\n"
        '  File "guard.py", line 92, in load\n'
        "pipeline.errors.QpertError: the detector cannot be loaded: ValueError: no such weights"
    )
    found = readable(RuntimeError(text))
    assert type(found) is QpertError
    assert str(found) == "the detector cannot be loaded: ValueError: no such weights"


def test_other_errors_stay_as_they_are() -> None:
    error = RuntimeError("node lost")
    assert readable(error) is error


def test_a_full_disk_is_reported_as_such() -> None:
    error = RuntimeError("task failed\nOSError: [Errno 28] Error writing bytes to file. No space left on device")
    found = readable(error, "/photos/out")
    assert type(found) is QpertError
    assert str(found).startswith("no space left for /photos/out; make room and run the same command again")
    assert readable(error) is error


@pytest.fixture
def attempts(write_features: Callable[..., Any]) -> Attempts:
    features = write_features([[[1.0, 0.0]]] * 2)
    return Attempts(FeatureStore(features.folder), features.manifest.fingerprint, None, execute=execute)


def commit(attempts: Attempts, name: str) -> None:
    """One file more that counts."""
    folder = Path(attempts.store.root)
    written = next((folder / "features").iterdir())
    (folder / "features" / f"{name}-000000.parquet").write_bytes(written.read_bytes())
    checkpoint = folder / "checkpoint" / attempts.fingerprint
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / f"{name}.parquet").write_bytes(b"x")


def test_failing_machines_get_further_attempts_while_there_is_progress(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    error = ray.exceptions.RayError("the node is gone\nand more")
    for number in range(5):
        commit(attempts, f"part{number}")
        attempts.may_go_on(error, ours=True)
    assert "Ray could not go on (RayError: the node is gone); starting again" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    attempts.may_go_on(ExecutionTimeoutError("stuck"), ours=True)
    attempts.may_go_on(error, ours=True)
    with pytest.raises(QpertError, match="three times without anything done: RayError: the node is gone"):
        attempts.may_go_on(error, ours=True)


def test_errors_that_no_attempt_can_fix_are_raised_at_once(attempts: Attempts) -> None:
    broken = QpertError("the encoder does not work here")
    with pytest.raises(QpertError) as raised:
        attempts.may_go_on(Wrapped(broken), ours=True)
    assert raised.value is broken
    error = ray.exceptions.RayError("gone")
    with pytest.raises(ray.exceptions.RayError):  # a session that somebody else has started is not ours to end
        attempts.may_go_on(error, ours=False)


def test_broken_storage_and_bugs_do_not_cause_another_attempt(attempts: Attempts) -> None:
    def failed(cause: Exception) -> Exception:
        error: Exception = ray.exceptions.RayTaskError("Map", "traceback", cause)
        return error

    with pytest.raises(QpertError, match=r"storage failed again and again \(OSError: gone\); run the same command"):
        attempts.may_go_on(failed(OSError("gone")), ours=True)
    bug = failed(TypeError("a bug"))
    with pytest.raises(ray.exceptions.RayTaskError) as raised:
        attempts.may_go_on(bug, ours=True)
    assert raised.value is bug
    attempts.may_go_on(failed(ray.exceptions.ObjectLostError("00", "", "")), ours=True)


def test_an_attempt_stopped_for_a_faster_one_is_not_a_failure(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    error = ray.exceptions.RayTaskError("Map", "traceback", RuntimeError("now there are 2 x A100"))
    for _ in range(5):
        attempts.stopped = "now there are 2 x A100"
        attempts.may_go_on(error, ours=True)
    assert attempts.in_vain == 0
    assert caplog.messages == ["now there are 2 x A100"] * 5
    with pytest.raises(ray.exceptions.RayTaskError):  # what goes wrong before the next has begun is something else
        attempts.may_go_on(error, ours=True)


def test_the_pace_is_measured_once_all_actors_are_at_work() -> None:
    counts = RunStats(photos=700, history=[(1025.0, 10)])  # one actor started sooner than the others
    assert pace_of(counts, 1000.0) is None
    counts.warm = 1030.0, Counter()
    assert pace_of(counts, 1000.0) is None  # no batch since
    counts.history += [(1030.0 + second, round(10.0 * second)) for second in range(0, 71, 5)]
    counts.work = {("encode", "cuda:A100"): (700, 70.0)}
    assert pace_of(counts, 1000.0) == Pace(700, 10.0, 70.0, 30.0, counts.work)


def test_unreachable_storage_does_not_hide_the_error(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*of: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(FeatureStore, "files", down)
    error = ray.exceptions.RayTaskError("Map", "traceback", OSError("no answer"))
    with pytest.raises(QpertError, match="storage failed again and again"):
        attempts.may_go_on(error, ours=True)


def test_the_next_attempt_knows_how_much_is_left(write_features: Callable[..., Any]) -> None:
    features = write_features([[[1.0, 0.0]]] * 2)
    attempts = Attempts(FeatureStore(features.folder), features.manifest.fingerprint, 10, execute=execute)
    assert attempts.left() == 10  # what there was before does not count
    commit(attempts, "part0")
    attempts.may_go_on(ray.exceptions.RayError("gone"), ours=True)
    assert attempts.left() == 8
    assert Attempts(FeatureStore(features.folder), features.manifest.fingerprint, None, execute=execute).left() is None


@dataclass(frozen=True)
class Planned:
    pools: dict[str, Pool] = field(default_factory=dict)
    file_rows: int = 8

    @property
    def reserved_gpus(self) -> float:
        return sum(pool.size * (pool.num_gpus or 0.0) for pool in self.pools.values())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Machines]:
    """Sessions and a run actor without Ray; what the cluster has in each of the sessions that begin."""
    left = [Machines(8.0, Counter(A100=1, V100=1)), Machines(8.0, Counter(V100=1))]
    now: list[Machines] = []

    @contextmanager
    def session(address: str | None, **options: Any) -> Iterator[bool]:
        now[:] = [left.pop(0) if len(left) > 1 else left[0]]
        yield True

    @contextmanager
    def watched(*of: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(module, "ray_session", session)
    monkeypatch.setattr(module, "progress", watched)
    monkeypatch.setattr(module, "settle", lambda gpus: None)
    run_actor = SimpleNamespace(read=SimpleNamespace(remote=lambda: RunStats(photos=3)))
    monkeypatch.setattr(module, "start_run_actor", lambda actors: run_actor)
    monkeypatch.setattr(module.ray, "get", lambda found: found)
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: now[0])
    return left


@pytest.mark.usefixtures("cluster")
def test_the_next_attempt_takes_the_remaining_gpu_types(
    write_features: Callable[..., Any], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def execute(graph: Planned, run_actor: object, *, verbose: bool) -> None:
        ran.append(str(graph.pools["match"]))
        if len(ran) == 1:
            raise ray.exceptions.RayError("the node is gone")

    def plan(machines: Machines) -> Planned:
        return Planned(plan_pools(machines, ["match"], accelerators=gpus.on(machines)))

    gpus, seen = NamedGpus(["A100", "V100"]), list[int]()
    features = write_features([[[1.0, 0.0]]])
    attempts = Attempts(
        FeatureStore(features.folder), "f00", None, lambda counts: seen.append(counts.photos), execute=execute
    )
    done = attempts.run(plan, gpus.find)
    assert ran == ["2 actors, each 1 GPU of in(A100,V100)", "1 actor, each 1 GPU of V100"]
    assert (done.machines.gpus, done.counts.photos, attempts.number, seen) == ({"V100": 1}, 3, 2, [3])
    said = caplog.text + capsys.readouterr().err
    assert "Ray could not go on (RayError: the node is gone); starting again" in said
    assert "going on without GPUs of type A100: there are none" in said


def test_a_missing_gpu_type_is_an_error_in_the_first_attempt(
    write_features: Callable[..., Any], cluster: list[Machines]
) -> None:
    del cluster[0]
    gpus = NamedGpus(["A100", "V100"])
    attempts = Attempts(FeatureStore(write_features([[[1.0, 0.0]]]).folder), "f00", None, execute=execute)

    def plan(machines: Machines) -> Planned:
        return Planned(plan_pools(machines, ["match"], accelerators=gpus.on(machines)))

    with pytest.raises(QpertError, match=r"no GPU of type A100 \(--accelerators\); there is 1 x V100"):
        attempts.run(plan, gpus.find)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("when", ["machines", "run"])
def test_an_interrupted_user_is_told_what_to_do(write_features: Callable[..., Any], when: str) -> None:
    def interrupt(*of: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    machines = Machines(4.0)
    find = interrupt if when == "machines" else lambda: machines
    attempts = Attempts(FeatureStore(write_features([[[1.0, 0.0]]]).folder), "f00", None, execute=interrupt)
    with pytest.raises(KeyboardInterrupt, match="run the same command again to go on where it stopped"):
        attempts.run(lambda there: Planned(), find)


@pytest.mark.usefixtures("cluster")
def test_a_run_whose_lock_was_taken_over_ends(
    write_features: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket, where a run that could not be seen for long may find another one in its place."""
    stops: list[str] = []

    @contextmanager
    def watched(run_actor: Any, todo: object, look: Callable[[RunStats], None], *of: Any) -> Iterator[None]:
        look(RunStats())
        yield

    def lost(folder: Folder) -> None:
        raise QpertError("another run has taken over")

    def stopped(graph: Any, run_actor: Any, **options: Any) -> None:
        raise ray.exceptions.RayError("stopped")

    run_actor = SimpleNamespace(request_stop=SimpleNamespace(remote=stops.append))
    monkeypatch.setattr(module, "start_run_actor", lambda actors: run_actor)
    monkeypatch.setattr(module, "progress", watched)
    attempts = Attempts(FeatureStore(write_features([[[1.0, 0.0]]]).folder), "f00", None, execute=stopped)
    monkeypatch.setattr(Folder, "check_lock", lost)
    with pytest.raises(QpertError, match="another run has taken over"):
        attempts.run(lambda machines: Planned(), lambda: Machines(4.0))
    assert stops == ["another run has taken over"]

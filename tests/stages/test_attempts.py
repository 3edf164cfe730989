"""What is made of an error, and whether another attempt is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipeline.errors import QpertError
from pipeline.stages.attempts import Attempts, readable


def execute(plan: object, tally: object) -> None:
    """Nothing."""


class Wrapped(RuntimeError):
    """As Ray's errors: the cause is an attribute."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"ray::Map() failed\n{cause}")
        self.cause = cause


def test_the_cause_is_found_in_what_ray_wraps_around_it() -> None:
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


def test_a_full_disk_is_said_so() -> None:
    error = RuntimeError("task failed\nOSError: [Errno 28] Error writing bytes to file. No space left on device")
    found = readable(error, "/photos/out")
    assert type(found) is QpertError
    assert str(found).startswith("no space left for /photos/out; make room and run the same command again")
    assert readable(error) is error


@pytest.fixture
def attempts(write_features: Callable[..., Any]) -> Attempts[Any]:
    features = write_features([[[1.0, 0.0]]] * 2)
    return Attempts(features.out, features.manifest.fingerprint, None, execute)


def commit(attempts: Attempts[Any], name: str) -> None:
    """One file more that counts."""
    folder = Path(attempts.out)
    written = next((folder / "features").iterdir())
    (folder / "features" / f"{name}-000000.parquet").write_bytes(written.read_bytes())
    checkpoint = folder / "checkpoint" / attempts.fingerprint
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / f"{name}.parquet").write_bytes(b"x")


def test_machines_that_fail_get_further_attempts_as_long_as_something_is_done(
    attempts: Attempts[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    error = ray.exceptions.RayError("the node is gone\nand more")
    for number in range(5):
        commit(attempts, f"part{number}")
        attempts.may_go_on(error, ours=True)
    assert "warning: Ray could not go on (RayError: the node is gone); starting anew" in capsys.readouterr().err
    attempts.may_go_on(ExecutionTimeoutError("stuck"), ours=True)
    attempts.may_go_on(error, ours=True)
    with pytest.raises(QpertError, match="three times without anything done: RayError: the node is gone"):
        attempts.may_go_on(error, ours=True)


def test_what_no_further_attempt_mends_is_raised_at_once(attempts: Attempts[Any]) -> None:
    broken = QpertError("the encoder does not work here")
    with pytest.raises(QpertError) as raised:
        attempts.may_go_on(Wrapped(broken), ours=True)
    assert raised.value is broken
    error = ray.exceptions.RayError("gone")
    with pytest.raises(ray.exceptions.RayError):  # a session that somebody else has started is not ours to end
        attempts.may_go_on(error, ours=False)


def test_storage_that_failed_for_good_and_bugs_are_no_reason_for_another_attempt(attempts: Attempts[Any]) -> None:
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


def test_an_attempt_that_was_ended_for_a_better_one_is_no_failure(
    attempts: Attempts[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    error = ray.exceptions.RayTaskError("Map", "traceback", RuntimeError("now there are 2 x A100"))
    for _ in range(5):
        attempts.stopped = "now there are 2 x A100"
        attempts.may_go_on(error, ours=True)
    assert attempts.in_vain == 0
    assert capsys.readouterr().err == "now there are 2 x A100\n" * 5
    with pytest.raises(ray.exceptions.RayTaskError):  # what goes wrong before the next has begun is something else
        attempts.may_go_on(error, ours=True)


def test_storage_that_does_not_answer_does_not_hide_what_went_wrong(
    attempts: Attempts[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*of: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr("pipeline.stages.attempts.committed_files", down)
    error = ray.exceptions.RayTaskError("Map", "traceback", OSError("no answer"))
    with pytest.raises(QpertError, match="storage failed again and again"):
        attempts.may_go_on(error, ours=True)


def test_a_further_attempt_knows_how_much_is_left(write_features: Callable[..., Any]) -> None:
    features = write_features([[[1.0, 0.0]]] * 2)
    attempts = Attempts(features.out, features.manifest.fingerprint, 10, execute)
    assert attempts.left() == 10  # what there was before does not count
    commit(attempts, "part0")
    attempts.may_go_on(ray.exceptions.RayError("gone"), ours=True)
    assert attempts.left() == 8
    assert Attempts(features.out, features.manifest.fingerprint, None, execute).left() is None

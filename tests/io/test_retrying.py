"""Which errors are retried, and which are not."""

from __future__ import annotations

import errno

import pytest
import tenacity

from pipeline.io.retrying import out_of_space, retry

PASSES = [
    OSError(errno.EIO, "Input/output error"),
    OSError("When reading information for key 'a' in bucket 'b': AWS Error SLOW_DOWN during HeadObject operation"),
    TimeoutError("timed out"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
]
STAYS = [
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    PermissionError(errno.EACCES, "Permission denied"),
    IsADirectoryError(errno.EISDIR, "Is a directory"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
    OSError("When getting information for bucket 'b': AWS Error ACCESS_DENIED during HeadBucket operation"),
    ValueError("no"),
]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("error", PASSES, ids=str)
def test_transient_errors_are_retried(error: OSError) -> None:
    failures = [error, error, error]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert retry(call) == "done"
    assert not failures


@pytest.mark.parametrize("error", PASSES + STAYS, ids=str)
def test_the_last_error_is_raised(error: Exception) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error)) as raised:
        retry(call, tries=3, patience=0)
    assert raised.value is error
    assert calls == (3 if error in PASSES else 1)


def test_a_full_disk_is_recognised_by_number_and_by_text() -> None:
    assert [out_of_space(error) for error in STAYS] == [False, False, False, True, True, False, False]

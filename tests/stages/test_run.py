from __future__ import annotations

from pipeline.errors import QpertError
from pipeline.stages.run import readable


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

"""Encoders of the server: concurrent texts are embedded together, and known ones not again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.encoders.reading import Reading
from pipeline.serving import embedding
from pipeline.serving.embedding import BatchingEncoder


class SlowEncoder:
    """A text is the number that it holds; the first call waits until it may go on."""

    name, dim = "slow", 2

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        self.begun.set()
        assert self.go_on.wait(10)
        return np.array([[1, int(text)] for text in texts], np.float32)

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        return None


def test_those_who_wait_are_answered_together() -> None:
    slow = SlowEncoder()
    encoder = BatchingEncoder(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(encoder.embed_text, ["0"])
        assert slow.begun.wait(10)
        others = [pool.submit(encoder.embed_text, [str(number), "0"]) for number in range(1, 7)]
        while len(encoder._waiting) < 6:
            threading.Event().wait(0.01)
        slow.go_on.set()
        rows = [future.result() for future in others]
    np.testing.assert_allclose(first.result(), [[1, 0]])
    for number, vectors in enumerate(rows, 1):
        np.testing.assert_allclose(vectors, np.array([[1, number], [np.hypot(1, number), 0]]) / np.hypot(1, number))
    assert slow.calls[0] == ["0"]
    assert len(slow.calls) == 2
    assert sorted(slow.calls[1]) == [str(number) for number in range(1, 7)]


def test_a_failure_is_everybodys_own() -> None:
    slow = SlowEncoder()
    encoder = BatchingEncoder(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(encoder.embed_text, ["0"])
        assert slow.begun.wait(10)
        bad = pool.submit(encoder.embed_text, ["x"])
        while "x" not in encoder._waiting:
            threading.Event().wait(0.01)
        good = pool.submit(encoder.embed_text, ["1"])
        while "1" not in encoder._waiting:
            threading.Event().wait(0.01)
        slow.go_on.set()
        with pytest.raises(ValueError, match="invalid literal"):
            bad.result()
        assert good.result().shape == first.result().shape == (1, 2)


def test_recent_texts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_REMEMBERED", 2)
    slow = SlowEncoder()
    slow.go_on.set()
    encoder = BatchingEncoder(slow)
    for text in ("1", "2", "1", "3", "1", "2"):
        encoder.embed_text([text])
    assert slow.calls == [["1"], ["2"], ["3"], ["2"]]
    assert encoder.embed_text([]).shape == (0, 2)

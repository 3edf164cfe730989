"""Pictures made of files from outside, by processes that may die of them."""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
from pathlib import Path
from threading import Lock
from time import monotonic

from pipeline.io.images import ImageError
from pipeline.io.images.limits import MAX_PIXELS
from pipeline.serving.picture_program import ANSWER, JPEG, PIXELS, REQUEST

MEMORY = 4 * 2**30
"""Bytes of address space of a process; 100 megapixels take less than 2 GiB."""
PATIENCE = 30.0
"""Seconds for one photo."""
MAX_QUERY_PIXELS = 50_000_000
"""Largest photo in a query; the whole server waits for its pixels, which no index does."""
MAX_SHOWN = 4096
"""Longest side of a photo that is shown, in pixels."""
_MAX_ANSWER = 3 * MAX_PIXELS + 64
_CHUNK = 2**20


class PictureMaker:
    """A few processes that decode photos, started when the first is to be decoded.

    Args:
        processes: at once; further photos wait.
        memory: bytes of address space of each.
        patience: seconds for one photo.
    """

    def __init__(self, processes: int = 2, *, memory: int = MEMORY, patience: float = PATIENCE) -> None:
        self._memory, self._patience = memory, patience
        self._free: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        for _ in range(processes):
            self._free.put(None)
        self._lock, self._closed = Lock(), False
        self._alive: set[_Process] = set()

    def jpeg(self, data: bytes, side: int) -> bytes:
        """An encoded photo as an upright JPEG of at most `side` pixels a side, without its metadata.

        Raises:
            ImageError: it cannot be decoded.
        """
        return self._make(REQUEST.pack(MAX_PIXELS, side, JPEG, len(data)), data)

    def pixels(self, data: bytes) -> bytes:
        """An encoded photo of a query as a PPM file: the same pixels in the plainest of formats.

        Raises:
            ImageError: it cannot be decoded, or has more than `MAX_QUERY_PIXELS`.
        """
        return self._make(REQUEST.pack(MAX_QUERY_PIXELS, 0, PIXELS, len(data)), data)

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            self._closed = True
            for process in self._alive:
                process.kill()
            self._alive.clear()

    def _make(self, header: bytes, data: bytes) -> bytes:
        process = self._free.get()
        try:
            if process is None:
                process = self._start()
            try:
                state, answer = process.ask(header, data, self._patience)
            except (EOFError, TimeoutError) as error:
                self._forget(process)
                process = None
                why = "takes too long" if isinstance(error, TimeoutError) else "ends the decoder"
                raise ImageError(f"image refused: it {why}") from None
        finally:
            self._free.put(process)
        if state != b"k":
            raise ImageError(answer.decode("utf-8", "replace")[:300])
        return answer

    def _start(self) -> _Process:
        process = _Process(self._memory)
        with self._lock:
            if self._closed:
                process.kill()
                raise ImageError("the server is ending")
            self._alive.add(process)
        return process

    def _forget(self, process: _Process) -> None:
        process.kill()
        with self._lock:
            self._alive.discard(process)


class _Process:
    """One process of `picture_program`."""

    def __init__(self, memory: int) -> None:
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serving.picture_program", str(memory)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for the server, which lets requests in flight end
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        os.set_blocking(self._in, False)

    def ask(self, header: bytes, data: bytes, patience: float) -> tuple[bytes, bytes]:
        """Its answer: a state, and what belongs to it.

        Raises:
            EOFError: the process is gone, or says nonsense.
            TimeoutError: it takes longer than `patience` seconds.
        """
        end = monotonic() + patience
        try:
            self._write(header, end)
            self._write(data, end)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise EOFError from error
        state, length = ANSWER.unpack(self._read(ANSWER.size, end))
        if state not in (b"k", b"e") or length > _MAX_ANSWER:
            raise EOFError
        return state, self._read(length, end)

    def kill(self) -> None:
        """Ends the process."""
        self._child.kill()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        self._child.wait()

    def _write(self, data: bytes, end: float) -> None:
        rest = memoryview(data)
        while rest:
            self._wait([], [self._in], end)
            rest = rest[os.write(self._in, rest[:_CHUNK]) :]

    def _read(self, length: int, end: float) -> bytes:
        chunks = bytearray()
        while len(chunks) < length:
            self._wait([self._out], [], end)
            chunk = os.read(self._out, min(_CHUNK, length - len(chunks)))
            if not chunk:
                raise EOFError
            chunks += chunk
        return bytes(chunks)

    @staticmethod
    def _wait(readable: list[int], writable: list[int], end: float) -> None:
        poll = select.poll()  # not select(), which knows no descriptor beyond 1023
        for descriptor in readable:
            poll.register(descriptor, select.POLLIN)
        for descriptor in writable:
            poll.register(descriptor, select.POLLOUT)
        if not poll.poll(max(0, 1000 * (end - monotonic()))):
            raise TimeoutError

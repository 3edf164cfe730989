"""A server in a process of its own, as `qpert serve` starts it, for tests over real connections."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[2]


class LiveServer:
    """A running `qpert serve`.

    Attributes:
        url: where it listens.
        pid: of its process.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.pid, self.lines = process, process.pid, list[str]()
        self.url = ""
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if match := re.search(r"API:\s+(http://\S+)/docs|serve at (http://\S+)/", line):
                self.url = match[1] or match[2]
                break
        Thread(target=self._read, daemon=True).start()
        assert self.url, "".join(self.lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stops it; returns its exit code."""
        if self.is_alive():
            self._process.send_signal(number)
        return self._process.wait(timeout=60)

    def memory(self) -> int:
        """Resident memory in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", text)[0])


@contextmanager
def live_server(*words: str) -> Iterator[LiveServer]:
    """Runs `qpert serve` with these words on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "serve", *words, "--port", "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        server = LiveServer(process)
        yield server
        server.stop()
    finally:
        process.kill()
        process.wait()

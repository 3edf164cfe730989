"""Decoding photos in a process of its own, to find those that would kill the process that decodes them.

Run as a program, this file is that process: it decodes what comes by its standard input and answers each with a dot.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MEMORY = 8 * 2**30
"""Bytes of address space for one photo; 100 megapixels with transparency take less than two."""
PATIENCE = 120.0
"""Seconds for one photo."""
_LENGTH = 8


def deadly(
    photos: Sequence[bytes],
    max_pixels: int,
    *,
    memory: int = MEMORY,
    patience: float = PATIENCE,
    program: Sequence[str] = (sys.executable, "-m", "pipeline.workers.decode_in_subprocess"),
) -> list[str | None]:
    """For each photo None, or why it must not be decoded in a process that is needed.

    A photo that merely cannot be decoded is not deadly: whoever decodes it gets an `ImageError`. Where that process
    does not even start, no photo is said to be.

    Args:
        photos: encoded.
        max_pixels: larger ones are refused by their header.
        memory: bytes that decoding one may take.
        patience: seconds that decoding one may take.
        program: what decodes; called with `max_pixels` and `memory`.
    """
    found: list[str | None] = []
    while len(found) < len(photos):
        child = _start([*program, str(max_pixels), str(memory)])
        try:
            if not _ready(child, patience):
                return [*found, *[None] * (len(photos) - len(found))]
            for photo in photos[len(found) :]:
                reason = _ask(child, photo, patience)
                found.append(reason)
                if reason is not None:
                    break  # the process is gone; the next photo gets a new one
        finally:
            child.kill()
            child.communicate()
    return found


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _ready(child: subprocess.Popen[bytes], patience: float) -> bool:
    assert child.stdout is not None
    return bool(select.select([child.stdout], [], [], patience)[0]) and os.read(child.stdout.fileno(), 1) == b"r"


def _ask(child: subprocess.Popen[bytes], photo: bytes, patience: float) -> str | None:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(len(photo).to_bytes(_LENGTH, "big") + photo)
        child.stdin.flush()
    except BrokenPipeError:  # it died of something before
        pass
    if not select.select([child.stdout], [], [], patience)[0]:
        return f"crashes the decoder: it takes more than {patience:g} s"
    answer = os.read(child.stdout.fileno(), 1)
    if answer == b".":
        return None
    if answer == b"m":
        return "crashes the decoder: it takes too much memory"
    code = child.wait()
    return f"crashes the decoder: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def main(max_pixels: int, memory: int) -> None:
    """Say r when ready; of each photo a dot if it leaves this process alive, an m if it asks for too much memory."""
    import resource

    from pipeline.io.images import ImageError, decode

    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if allowed == resource.RLIM_INFINITY else min(memory, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    take, answer = sys.stdin.buffer, sys.stdout.buffer
    answer.write(b"r")
    answer.flush()
    while header := take.read(_LENGTH):
        photo = take.read(int.from_bytes(header, "big"))
        try:
            # Truncated ones too, whatever the run makes of them: they may be just as deadly.
            decode(photo, max_pixels=max_pixels, allow_truncated=True)
            verdict = b"."
        except ImageError as error:
            verdict = b"m" if isinstance(error.__cause__, MemoryError) else b"."
        except MemoryError:
            verdict = b"m"
        answer.write(verdict)
        answer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""Decodes photos in a subprocess to find those that would kill the process that decodes them.

Run as a program, this file is that subprocess: it decodes the photos that come by standard input and answers each with
one letter. A letter, unlike a pickle, cannot run code here if a hostile photo takes the decoder over.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.io.images import ImageError, decode

MEMORY = 8 * 2**30
"""Bytes of address space for one photo; 100 megapixels with transparency take less than 2 GiB."""
PATIENCE = 120.0
"""Seconds for one photo."""
_LENGTH = 8
"""Bytes of a photo's length, which precedes it."""


def deadly_photos(
    photos: Sequence[bytes],
    max_pixels: int,
    *,
    memory: int = MEMORY,
    patience: float = PATIENCE,
    program: Sequence[str] = (sys.executable, "-m", "pipeline.workers.decode_in_subprocess"),
) -> list[str | None]:
    """For each photo None, or why it must not be decoded in a process that is needed.

    A photo that merely cannot be decoded is not deadly: decoding it raises an `ImageError`. If the subprocess does not
    even start, no photo is blamed.

    Args:
        photos: encoded.
        max_pixels: larger ones are refused by their header.
        memory: bytes that decoding one photo may take.
        patience: seconds that decoding one photo may take.
        program: the decoder; called with `max_pixels` and `memory`.
    """
    reasons: list[str | None] = []
    while len(reasons) < len(photos):
        child = _start([*program, str(max_pixels), str(memory)])
        try:
            if not _is_ready(child, patience):
                return [*reasons, *[None] * (len(photos) - len(reasons))]
            for photo in photos[len(reasons) :]:
                reason = _decode_in(child, photo, patience)
                reasons.append(reason)
                if reason is not None:
                    break  # the subprocess is gone or unusable; the next photo gets a new one
        finally:
            child.kill()
            child.communicate()
    return reasons


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _is_ready(child: subprocess.Popen[bytes], patience: float) -> bool:
    assert child.stdout is not None
    return bool(select.select([child.stdout], [], [], patience)[0]) and os.read(child.stdout.fileno(), 1) == b"r"


def _decode_in(child: subprocess.Popen[bytes], photo: bytes, patience: float) -> str | None:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(len(photo).to_bytes(_LENGTH, "big") + photo)
        child.stdin.flush()
    except BrokenPipeError:  # it has died before; its exit code says of what
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
    """Answers r when ready, then for each photo a dot, or an m if it needs too much memory."""
    import resource  # Unix only, while this module is imported everywhere

    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if allowed == resource.RLIM_INFINITY else min(memory, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    photos, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(b"r")
    answers.flush()
    while header := photos.read(_LENGTH):
        photo = photos.read(int.from_bytes(header, "big"))
        try:
            # Truncated photos too, even if the run refuses them: they may be just as deadly.
            decode(photo, max_pixels=max_pixels, allow_truncated=True)
            answer = b"."
        except ImageError as error:
            answer = b"m" if isinstance(error.__cause__, MemoryError) else b"."
        except MemoryError:
            answer = b"m"
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

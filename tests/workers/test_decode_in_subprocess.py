"""Photos that would kill the process that decodes them are found in a subprocess."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.workers.decode_in_subprocess import deadly_photos


def jpeg(size: tuple[int, int] = (32, 24), kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, kind)
    return stream.getvalue()


def test_photos_that_merely_cannot_be_decoded_are_not_deadly() -> None:
    assert deadly_photos([jpeg(), b"no photo", b"", jpeg()[:200], jpeg()], 10**6) == [None] * 5


@pytest.mark.slow
def test_a_photo_that_takes_too_much_memory_is_deadly_and_the_next_is_checked_too() -> None:
    large = jpeg((12_000, 8_000), "PNG")
    # Python, NumPy and Pillow take some 600 MB of address space; the photo takes 288 MB more.
    found = deadly_photos([jpeg(), large, jpeg()], 10**9, memory=700 * 2**20)
    assert found == [None, "crashes the decoder: it takes too much memory", None]
    assert deadly_photos([large], 10**9) == [None]


@pytest.mark.slow
def test_signals_exit_codes_and_endless_work_are_reasons(tmp_path: Path) -> None:
    program = tmp_path / "decoder.py"
    program.write_text(
        "import os, sys, time\n"
        "sys.stdout.buffer.write(b'r'); sys.stdout.buffer.flush()\n"
        "while header := sys.stdin.buffer.read(8):\n"
        "    photo = sys.stdin.buffer.read(int.from_bytes(header, 'big'))\n"
        "    if photo == b'segfault': os.kill(os.getpid(), 11)\n"
        "    if photo == b'exit': os._exit(3)\n"
        "    if photo == b'sleep': time.sleep(100)\n"
        "    sys.stdout.buffer.write(b'.'); sys.stdout.buffer.flush()\n"
    )
    photos = [b"fine", b"segfault", b"exit", b"fine", b"sleep", b"fine", b"segfault"]
    found = deadly_photos(photos, 1, patience=5.0, program=(sys.executable, str(program)))
    assert found == [
        *(None, "crashes the decoder: SIGSEGV", "crashes the decoder: exit code 3", None),
        *("crashes the decoder: it takes more than 5 s", None, "crashes the decoder: SIGSEGV"),
    ]


def test_no_photos() -> None:
    assert deadly_photos([], 1) == []


@pytest.mark.parametrize("photo", [b"x" * 5_000_000])
def test_a_decoder_that_dies_before_it_has_read_the_photo(tmp_path: Path, photo: bytes) -> None:
    program = tmp_path / "decoder.py"
    program.write_text("import os\nos.write(1, b'r')\nraise SystemExit(7)\n")
    found = deadly_photos([photo, photo], 1, program=(sys.executable, str(program)))
    assert found == ["crashes the decoder: exit code 7"] * 2


def test_no_photo_is_blamed_if_the_subprocess_does_not_start() -> None:
    assert deadly_photos([jpeg(), b"x"], 1, program=(sys.executable, "-c", "raise SystemExit(3)")) == [None, None]

"""Photos per second that the CPU decodes and prepares, by threads, and nvJPEG where torchvision has it."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from pipeline.benchmarks.gpu.accelerator import Accelerator
from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.errors import one_line
from pipeline.io.images import decode

SIZE = (640, 480)


@dataclass(frozen=True)
class DecodingRates:
    """Photos of 640 x 480 pixels.

    Attributes:
        jpeg: mean bytes of a photo.
        by_threads: threads -> photos per second, decoded and prepared for an encoder.
        nvjpeg: photos per second decoded (not prepared) on the GPU; None where that is not possible.
        without: why nvJPEG was not measured; "" if it was.
        cores: of this machine.
    """

    jpeg: int
    by_threads: dict[int, float]
    nvjpeg: float | None
    without: str
    cores: int


def measure_decoding(
    accelerator: Accelerator, prepare: Callable[[Image.Image], object], photos: int, threads: Sequence[int] = ()
) -> DecodingRates:
    """Decode the same photos in every way.

    Args:
        accelerator: for nvJPEG.
        prepare: what an encoder does with a decoded photo.
        photos: how many.
        threads: numbers of threads; empty: 1, 2, 4, ... up to all cores.
    """
    cores = os.cpu_count() or 1
    encoded = [_jpeg(number) for number in range(min(photos, 16))]
    work = [encoded[number % len(encoded)] for number in range(photos)]
    counts = threads or sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})
    by_threads = {}
    for count in counts:
        with ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            list(pool.map(lambda photo: prepare(decode(photo)), work))
            by_threads[count] = photos / (time.perf_counter() - start)
    try:
        nvjpeg, without = _nvjpeg(accelerator, work), ""
    except (ImportError, RuntimeError) as error:
        nvjpeg, without = None, one_line(error)
    return DecodingRates(sum(map(len, encoded)) // len(encoded), by_threads, nvjpeg, without, cores)


def _nvjpeg(accelerator: Accelerator, work: Sequence[bytes]) -> float:
    if accelerator.device.type != "cuda":
        raise RuntimeError(f"not on {accelerator.device.type}")
    from torchvision.io import decode_jpeg

    batch = [torch.frombuffer(bytearray(photo), dtype=torch.uint8) for photo in work]
    decode_jpeg(batch[:1], device=accelerator.device)  # loads the library
    torch.cuda.synchronize()
    start = time.perf_counter()
    decode_jpeg(batch, device=accelerator.device)
    torch.cuda.synchronize()
    return len(work) / (time.perf_counter() - start)


def _jpeg(number: int) -> bytes:
    """A scene with the grain of a photo, which makes its file as large as one of COCO's."""
    scene = np.asarray(draw_scene(make_scene(0, number)).convert("RGB").resize(SIZE), np.int16)
    grain = np.random.default_rng(number).normal(0, 10, scene.shape)
    stream = io.BytesIO()
    Image.fromarray((scene + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()

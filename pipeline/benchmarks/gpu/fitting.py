"""Whether the micro-batch that is worked out beforehand fits, how much more would, and recovery from a full memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image

from pipeline.benchmarks.gpu.accelerator import Accelerator
from pipeline.encoders.base import Encoder
from pipeline.errors import QpertError
from pipeline.workers.memory import CudaMemory, Memory, out_of_memory, photos_that_fit
from pipeline.workers.micro_batching import Failure, MicroBatcher

ROOM = 2 * 2**30
"""Bytes that the model may take beside its weights: little, so that memory runs out soon."""
_MOST = 2**13
_REHEARSED = 24
"""Photos that "fit" on a CPU, where memory running out would take the machine along."""


@dataclass(frozen=True)
class Fitting:
    """Micro-batches within `room`.

    Attributes:
        room: bytes that were left beside the weights.
        planned: photos per call, by `pipeline.workers.memory.photos_that_fit`.
        measured: the largest power of two that ran.
        refused: the size with which memory ran out; None if it never did.
        sizes: what the micro-batcher went down to on its own, starting with `refused`.
        recovered: whether every photo of that batch got its result all the same.
        left: bytes allocated afterwards above those before.
    """

    room: int
    planned: int
    measured: int
    refused: int | None
    sizes: tuple[int, ...]
    recovered: bool
    left: int


class _RehearsedMemory:
    """The `Memory` of a device that holds `_REHEARSED` photos and plans with four fifths of them."""

    def __init__(self) -> None:
        self.photos = 0

    def peak(self, run: Callable[[], object]) -> int:
        run()
        return self.photos

    def room(self) -> int:
        return _REHEARSED


@dataclass(frozen=True)
class _LimitedMemory(CudaMemory):
    """The memory of a GPU of which this process may take `limit` bytes."""

    limit: int = 0

    def room(self) -> int:
        return min(super().room(), self.limit - torch.cuda.memory_allocated())


@torch.inference_mode()
def measure_fitting(encoder: Encoder, accelerator: Accelerator) -> Fitting:
    """Let memory run out on purpose.

    Raises:
        QpertError: torch does not limit or count this device's memory.
    """
    if accelerator.device.type not in ("cuda", "cpu"):
        raise QpertError(f"torch does not limit memory on {accelerator.device.type}")
    photo = encoder.preprocess(Image.effect_noise((640, 480), 80).convert("RGB"))
    rehearsed = _RehearsedMemory()

    def run(count: int) -> torch.Tensor:
        rehearsed.photos = count
        if accelerator.rehearsal and count > _REHEARSED:
            raise MemoryError
        return encoder.embed(encoder.backbone(photo.to(accelerator.device).expand(count, *photo.shape).contiguous()))

    with _limited(accelerator) as limit:
        memory: Memory = rehearsed if accelerator.rehearsal else _LimitedMemory(limit=limit)
        run(1)
        before, room = _allocated(accelerator), memory.room()
        planned = photos_that_fit(run, memory, _MOST)
        measured, refused = _largest(run, planned)
        accelerator.free()
        sizes: list[int] = []
        recovered = True
        if refused is not None:
            batcher: MicroBatcher[None, torch.Tensor] = MicroBatcher(
                lambda items: list(run(len(items)).cpu()), lambda: run(1), refused, "encoder", sizes.append
            )
            results = batcher([None] * refused)
            recovered = len(results) == refused and not any(isinstance(result, Failure) for result in results)
            del results
        accelerator.free()
        left = _allocated(accelerator) - before
    return Fitting(room, planned, measured, refused, tuple(sizes), recovered, left)


def _largest(run: Callable[[int], object], planned: int) -> tuple[int, int | None]:
    """The largest power of two from `planned` on that runs, and the one that does not."""
    size = planned
    while size <= _MOST:
        try:
            run(size)
        except Exception as error:
            if not out_of_memory(error):
                raise
            return size // 2, size
        size *= 2
    return size // 2, None


def _allocated(accelerator: Accelerator) -> int:
    return torch.cuda.memory_allocated() if accelerator.device.type == "cuda" else 0


@contextmanager
def _limited(accelerator: Accelerator) -> Iterator[int]:
    """The bytes that this process may take of the GPU: what it holds already, and `ROOM`."""
    if accelerator.rehearsal:
        yield 0
        return
    accelerator.free()
    limit = min(accelerator.memory, torch.cuda.memory_reserved() + ROOM)
    torch.cuda.set_per_process_memory_fraction(limit / accelerator.memory)
    try:
        yield limit
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

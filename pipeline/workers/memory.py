"""Works out how many photos fit on a device at once, by running the model on one and on two before the first photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# torch is imported inside functions: processes that only read or count photos use this module as well.

CPU_PHOTOS, GPU_PHOTOS = 32, 64
"""Photos per call of a model where memory is not the limit; blocks hold no more than that anyway."""
_USABLE = 0.8
"""Share of the free memory that is planned with: photos differ, and memory is fragmented."""


class Memory(Protocol):
    """The memory of a device."""

    def peak(self, run: Callable[[], object]) -> int:
        """Peak memory of `run` above the current allocation, in bytes."""

    def room(self) -> int:
        """Bytes that this process may still allocate."""


@dataclass(frozen=True)
class CudaMemory:
    """The memory of the first GPU of this process.

    Attributes:
        share: the share of the GPU that belongs to this process.
    """

    share: float = 1.0

    def peak(self, run: Callable[[], object]) -> int:
        """See `Memory`."""
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)

    def room(self) -> int:
        """See `Memory`. Other processes on a shared GPU may not have allocated their part yet."""
        import torch

        free, total = torch.cuda.mem_get_info()
        mine = torch.cuda.memory_allocated()
        unused = torch.cuda.memory_reserved() - mine
        return int(min(left_of_share(total, self.share, mine), free + unused))


def left_of_share(total: int, share: float, mine: int) -> float:
    """What a process may still allocate of its share of a memory of `total` bytes, of which it has `mine`.

    If its model alone exceeds the share, the share is taken of the memory that the model leaves.
    """
    left = total * share - mine
    return left if left > 0 else (total - mine) * share


def photos_that_fit(run: Callable[[int], object], memory: Memory | None, most: int | None = None) -> int:
    """Photos per call of a model: the largest power of two that the memory holds, at least 1.

    Args:
        run: runs the model on so many photos of our own.
        memory: of the device; None where memory is not the limit (a CPU).
        most: upper limit; None for `CPU_PHOTOS` or `GPU_PHOTOS`.
    """
    if memory is None:
        return most or CPU_PHOTOS
    run(1)  # libraries allocate some memory once and keep it: that belongs to no photo
    one = memory.peak(lambda: run(1))
    try:
        two = memory.peak(lambda: run(2))
    except Exception as error:
        if not out_of_memory(error):
            raise
        free_memory()
        return 1
    per_photo = max(1, two - one)
    fit = max(1, int((memory.room() * _USABLE - max(0, one - per_photo)) // per_photo))
    return min(most or GPU_PHOTOS, 1 << (fit.bit_length() - 1))


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in RAM; torch.OutOfMemoryError by name, so that torch is not imported."""
    if type(error).__name__ in ("OutOfMemoryError", "CudaOutOfMemoryError"):
        return True
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)  # torch's words on a CPU


def free_memory() -> None:
    """Returns the GPU memory that torch has cached."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()

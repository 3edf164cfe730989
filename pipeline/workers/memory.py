"""How many photos fit on a device at once: measured with one and with two, before the first photo comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

CPU_PHOTOS, GPU_PHOTOS = 32, 64
"""Photos per call of a model where memory is not what limits it; more than a block holds there never are."""
_SPARE = 0.8
"""Share of what is free that is planned with: photos differ, and memory is never quite whole."""


class Memory(Protocol):
    """The memory of a device."""

    def peak(self, run: Callable[[], object]) -> int:
        """Bytes that `run` takes at its height, beyond what is taken before."""

    def room(self) -> int:
        """Bytes that this process may still take."""


@dataclass(frozen=True)
class CudaMemory:
    """That of the first GPU of this process.

    Attributes:
        share: of the GPU that is this process's own.
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
        """See `Memory`. The other processes on a shared GPU may not have taken their part yet.

        Of a model that is larger than its share, the share counts of what is beside it.
        """
        import torch

        free, total = torch.cuda.mem_get_info()
        mine = torch.cuda.memory_allocated()
        unused = torch.cuda.memory_reserved() - mine
        return int(min(max(total * self.share - mine, (total - mine) * self.share), free + unused))


def photos_that_fit(run: Callable[[int], object], memory: Memory | None, most: int | None = None) -> int:
    """Photos per call of a model: as many as the memory holds, as a power of two; one at least.

    Args:
        run: runs the model on so many photos of our own.
        memory: of the device; None where it does not limit (a CPU).
        most: never more than these; None for the usual number.
    """
    if memory is None:
        return most or CPU_PHOTOS
    run(1)  # what libraries take once and keep is no photo's
    one = memory.peak(lambda: run(1))
    try:
        two = memory.peak(lambda: run(2))
    except Exception as error:
        from pipeline.workers.micro_batching import free_memory, out_of_memory

        if not out_of_memory(error):
            raise
        free_memory()
        return 1
    each = max(1, two - one)
    fit = max(1, int((memory.room() * _SPARE - max(0, one - each)) // each))
    return min(most or GPU_PHOTOS, 1 << (fit.bit_length() - 1))

"""The device that is measured: CUDA, ROCm (which torch calls CUDA too), MPS, or the CPU for a rehearsal."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

from pipeline.benchmarks.encoder_cost import device_name
from pipeline.errors import QpertError
from pipeline.workers.device import dtype_for
from pipeline.workers.memory import CudaMemory


@dataclass(frozen=True)
class Accelerator:
    """The measured device.

    Attributes:
        device: of torch.
        name: of the card, or "cpu, N threads".
        memory: bytes in all.
        dtypes: half-precision formats that it computes in.
    """

    device: torch.device
    name: str
    memory: int
    dtypes: tuple[str, ...]

    @property
    def rehearsal(self) -> bool:
        """Whether this is the CPU, where small sizes stand in for the real ones."""
        return self.device.type == "cpu"

    def peak(self, run: Callable[[], object]) -> int | None:
        """Peak memory of `run` above what is allocated before, in bytes; None where torch does not count it."""
        if self.device.type == "cuda":
            return CudaMemory().peak(run)
        run()
        return None

    def free(self) -> None:
        """Returns memory that nothing uses any more to the device."""
        gc.collect()
        if not self.rehearsal:
            torch.accelerator.empty_cache()


def find_accelerator(wanted: str | None) -> Accelerator:
    """The device to measure.

    Args:
        wanted: a torch device; None for the first accelerator.

    Raises:
        QpertError: there is none, or torch cannot use this one.
    """
    try:
        found = torch.accelerator.current_accelerator(check_available=True) if wanted is None else torch.device(wanted)
        if found is not None:
            torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise QpertError(f"--gpu.device {wanted} cannot be used here: {str(error).splitlines()[0]}") from error
    if found is None:
        raise QpertError(
            f"torch {torch.__version__} sees no GPU on this machine: nothing to measure; --gpu.device cpu rehearses the"
            " measurements with small models"
        )
    if found.type == "cuda":
        both = ("bfloat16", "float16")
        own = torch.cuda.get_device_capability(found)
        fitting = tuple(dtype for dtype in both if torch.version.hip or dtype_for(own, dtype) == dtype)  # type: ignore[arg-type]
        return Accelerator(found, device_name(found), torch.cuda.get_device_properties(found).total_memory, fitting)
    memory = torch.mps.recommended_max_memory() if found.type == "mps" else psutil.virtual_memory().total
    return Accelerator(found, device_name(found), memory, ("bfloat16", "float16"))


@contextmanager
def exact_products() -> Iterator[None]:
    """No TF32 inside, neither in products nor in convolutions, which have it by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)

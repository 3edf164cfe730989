"""Finds out which device an actor is on, what it is called, and which dtype suits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import QpertError

Dtype = Literal["auto", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Device:
    """The device of one actor.

    Attributes:
        torch: torch's name for it, "cpu" or "cuda:0" (Ray shows an actor only its own GPUs, so it is always the first).
        name: for messages and the `device` column, "cpu" or "cuda:NVIDIA A100-SXM4-80GB".
        capability: CUDA compute capability, (0, 0) for a CPU.
    """

    torch: str
    name: str
    capability: tuple[int, int] = (0, 0)

    def dtype(self, wanted: Dtype = "auto") -> str:
        """The dtype to compute in, see `dtype_for`."""
        return dtype_for(None if self.torch == "cpu" else self.capability, wanted)


def dtype_for(capability: tuple[int, int] | None, wanted: Dtype = "auto") -> str:
    """The dtype to compute in; float32 where the device lacks the requested one.

    bfloat16 needs compute capability 8 (Ampere). float16 is slow on Pascal (6.x), so Pascal uses float32; a CPU uses
    float32 unless bfloat16 is requested.

    Args:
        capability: of a CUDA device; None for a CPU.
        wanted: the requested dtype.
    """
    if capability is None:
        return "float32" if wanted in ("auto", "float16") else wanted
    best = "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    if wanted == "auto":
        return best
    return "float32" if wanted != best and wanted == "bfloat16" else wanted


def this_device(gpu: bool) -> Device:
    """The device of the calling process.

    Args:
        gpu: whether Ray gave this actor a GPU, or a share of one.

    Raises:
        QpertError: it did, but torch cannot use it. Silently computing on the CPU instead would be worse.
    """
    if not gpu:
        return Device("cpu", "cpu")
    import torch  # only here: planning reads this module's dtypes without loading torch

    if not torch.cuda.is_available():
        raise QpertError(
            f"this worker has a GPU, but torch {torch.__version__} cannot use it; install a CUDA build of torch that"
            " fits the driver, or index with --accelerators none"
        )
    major, minor = torch.cuda.get_device_capability(0)
    name = torch.cuda.get_device_name(0)
    built_for = torch.cuda.get_arch_list()
    if built_for and not runs_on((major, minor), built_for):
        raise QpertError(
            f"torch {torch.__version__} has no kernels for {name} (compute capability {major}.{minor}; it has"
            f" {', '.join(built_for)}); cards before Volta need a CUDA 12.6 build on their nodes"
        )
    return Device("cuda:0", f"cuda:{name}", (major, minor))


def runs_on(capability: tuple[int, int], built_for: list[str]) -> bool:
    """Binaries (sm_XY) serve their own major version from Y up; PTX (compute_XY) serves everything newer."""
    for arch in built_for:
        kind, _, number = arch.partition("_")
        digits = "".join(filter(str.isdigit, number))
        version = (int(digits[:-1]), int(digits[-1]))
        if capability >= version and (kind == "compute" or capability[0] == version[0]):
            return True
    return False

"""How busy the GPUs of this machine are while something else runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pipeline.errors import one_line

EVERY = 0.5
"""Seconds between two samples; the driver's own figure covers about as long."""


@dataclass
class Utilisation:
    """Samples of each GPU's utilisation, the share of time in which any kernel ran.

    Attributes:
        samples: GPU -> percent, a sample every half second.
        without: why there are none; "" if there are.
    """

    samples: dict[int, list[int]] = field(default_factory=dict)
    without: str = ""

    def means(self) -> dict[int, float]:
        """GPU -> mean percent."""
        return {gpu: sum(percents) / len(percents) for gpu, percents in self.samples.items() if percents}


@contextmanager
def utilisation() -> Iterator[Utilisation]:
    """Sample the GPUs while the block runs, by NVML (ROCm: AMD SMI); this process takes no memory on them."""
    found, stop = Utilisation(), threading.Event()

    def watch() -> None:
        try:
            count = torch.cuda.device_count()
            found.without = "" if count else "torch sees no GPU here"
            while count and not stop.wait(EVERY):
                for gpu in range(count):
                    found.samples.setdefault(gpu, []).append(torch.cuda.utilization(gpu))
        except Exception as error:  # no NVML, no permission: the run goes on
            found.without = one_line(error)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(10)

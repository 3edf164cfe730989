"""Timing pieces of work side by side, so that other load on the machine affects them equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch


def interleaved(works: list[Callable[[], object]], repetitions: int, device: torch.device) -> list[list[float]]:
    """Seconds of each piece of work in each repetition, after one warm-up run of all."""
    seconds: list[list[float]] = [[] for _ in works]
    gc.collect()
    for repetition in range(repetitions + 1):
        for work, times in zip(works, seconds, strict=True):
            _wait(device)
            start = time.perf_counter()
            work()
            _wait(device)
            if repetition:
                times.append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

"""Running a model over photos so that one bad photo fails alone and a full GPU memory fails nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import QpertError

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSES = (0.5, 5.0)
"""Seconds to wait for memory before a single photo is tried again."""

LONG = 60.0
"""Seconds that a micro-batch shall take at most."""


@dataclass(frozen=True)
class Failure:
    """Why a photo has no result: one short line."""

    reason: str


class Guard(Generic[Item, Result]):
    """Runs `run` over micro-batches.

    - Out of memory: the micro-batch is halved, and stays so for the batches to come. A single photo is tried again,
      a little later: others on the device may have had the memory.
    - Any other exception: the photos of that micro-batch are run one by one, and those that fail become a `Failure`.
    - When a photo fails alone, `probe` runs the model on a photo of our own. If that fails as well, it is the model or
      the device that is broken, not the photo: a QpertError ends the job instead of a million error rows.

    Args:
        run: from n items to n results, in order.
        probe: raises when the model does not work; called at the start, twice if that takes long.
        size: largest micro-batch; of a model so slow that it would take longer than `LONG`, less.
        name: of the model, for messages.
        remember: is told every smaller size.

    Attributes:
        seconds: that the probe took at the start.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        probe: Callable[[], object],
        size: int,
        name: str,
        remember: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.run, self.probe, self.name, self.remember = run, probe, name, remember
        self.seconds = self._timed()
        if self.seconds > 1:  # the first run of a model loads libraries, and weights that were only mapped
            self.seconds = self._timed()
        self.size = max(1, min(size, int(LONG / max(self.seconds, 1e-3))))

    def __call__(self, items: Sequence[Item]) -> list[Result | Failure]:
        """One result or Failure for each item, in order."""
        results: list[Result | Failure] = []
        while len(results) < len(items):
            batch = list(items[len(results) : len(results) + self.size])
            try:
                done = self.run(batch)
            except Exception as error:
                if out_of_memory(error) and len(batch) > 1:
                    self.size = max(1, min(self.size, len(batch)) // 2)
                    self.remember(self.size)
                    free_memory()
                    continue
                results += self._one_by_one(batch)
                continue
            if len(done) != len(batch):
                raise QpertError(f"{self.name} gave {len(done)} results for {len(batch)} photos: this is a bug in it")
            results += done
        return results

    def _one_by_one(self, batch: list[Item]) -> list[Result | Failure]:
        results: list[Result | Failure] = []
        for item in batch:
            try:
                results += self._alone(item)
            except Exception as error:
                self._check(error)
                results.append(Failure(f"{self.name}: {short(error)}"))
        return results

    def _alone(self, item: Item) -> list[Result]:
        for pause in PAUSES:
            try:
                return self.run([item])
            except Exception as error:
                if not out_of_memory(error):
                    raise
                free_memory()
                time.sleep(pause)
        return self.run([item])

    def _timed(self) -> float:
        started = time.perf_counter()
        self._check(None)
        return time.perf_counter() - started

    def _check(self, cause: Exception | None) -> None:
        try:
            self.probe()
        except Exception as error:
            raise QpertError(f"{self.name} does not work here: {short(error)}") from (cause or error)


def load(name: str, build: Callable[[], Result]) -> Result:
    """Build a model.

    Raises:
        QpertError: it cannot be built. Ray would wrap anything else in pages of its own.
    """
    try:
        return build()
    except QpertError:
        raise
    except Exception as error:
        raise QpertError(f"the {name} cannot be loaded: {short(error)}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, a GPU's or ours; torch.OutOfMemoryError by name, so that torch need not be imported."""
    if type(error).__name__ in ("OutOfMemoryError", "CudaOutOfMemoryError"):
        return True
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)  # as torch says it of a CPU's


def short(error: BaseException) -> str:
    """The first line of an exception, with its type unless it was meant for the user."""
    text = next(iter(str(error).strip().splitlines()), "")[:300]
    return text if isinstance(error, QpertError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()

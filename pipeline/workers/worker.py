"""What every actor around a model has: its device, its limits, a model, and micro-batches that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from PIL import Image

from pipeline.errors import QpertError, one_line
from pipeline.io.images import MAX_PIXELS, decode
from pipeline.workers.device import Device, Dtype, this_device
from pipeline.workers.memory import CudaMemory, photos_that_fit
from pipeline.workers.micro_batching import MicroBatcher
from pipeline.workers.reporting import Reporter, SmallerMicroBatch

Item = TypeVar("Item")
Result = TypeVar("Result")
Model = TypeVar("Model")


@dataclass(frozen=True)
class Worker:
    """How one actor works.

    Attributes:
        gpu: whether it has a GPU.
        share: its share of the GPU.
        dtype: number format of the model.
        micro_batch: most photos per call of the model; None for as many as fit. Halved when memory runs out.
        threads: CPU threads of the model; None leaves torch's own choice.
        decoders: threads that decode photos while the model computes; 0 decodes in between.
        max_pixels: larger photos are refused.
        allow_truncated: decode what there is of photos whose files end early.
        patience: seconds that a micro-batch may take, decoding included, in addition to three times what it should
            take by the probe. A process that takes longer ends itself, and another one handles its photos with care.
            None for no limit.
        find_device: how it finds out what its device is.
    """

    gpu: bool = False
    share: float = 1.0
    dtype: Dtype = "auto"
    micro_batch: int | None = None
    threads: int | None = None
    decoders: int = 0
    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False
    patience: float | None = None
    find_device: Callable[[bool], Device] = this_device

    def decode(self, photo: bytes) -> Image.Image:
        """Decodes a photo within this worker's limits; see `pipeline.io.images.decode`."""
        return decode(photo, max_pixels=self.max_pixels, allow_truncated=self.allow_truncated)

    def micro_batcher(
        self,
        stage: str,
        device: Device,
        run: Callable[[list[Item]], list[Result]],
        probe: Callable[[int], object],
        name: str,
        reporter: Reporter,
    ) -> MicroBatcher[Item, Result]:
        """Micro-batches for a model on this actor's device, as large as it takes.

        What one actor learns about their size is known to actors that start later on such a device.

        Args:
            stage: its name.
            device: what `find_device` returned.
            run: see `MicroBatcher`.
            probe: runs the model on so many photos of our own.
            name: of the model, for messages.
            reporter: passes on what is learnt.

        Raises:
            QpertError: the model does not work.
        """
        memory = CudaMemory(self.share) if device.torch.startswith("cuda") else None
        try:
            size = reporter.known_micro_batch(stage, device.name) or photos_that_fit(probe, memory, self.micro_batch)
        except QpertError:
            raise
        except Exception as error:
            raise QpertError(f"{name} does not work here: {one_line(error)}") from error

        def remember(size: int) -> None:
            reporter.send(SmallerMicroBatch(stage, device.name, size))

        return MicroBatcher(run, partial(probe, 1), size, name, remember)


def load_model(name: str, build: Callable[[], Model]) -> Model:
    """Builds a model.

    Raises:
        QpertError: it cannot be built. Ray would wrap any other exception in pages of its own.
    """
    try:
        return build()
    except QpertError:
        raise
    except Exception as error:
        raise QpertError(f"the {name} cannot be loaded: {one_line(error)}") from error


def set_threads(threads: int | None) -> None:
    """Limits torch to `threads` CPU threads, so that the actors of a node share its cores instead of fighting."""
    if threads is not None:
        import torch  # only actors with a limit, which load torch anyway

        torch.set_num_threads(threads)

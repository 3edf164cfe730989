"""Images per second, memory, and the parts of Q-Perturbation, for one encoder on one device."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pipeline.benchmarks.gpu.accelerator import Accelerator
from pipeline.benchmarks.operator_work import OperatorWork, random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.base import Encoder
from pipeline.method.settings import Perturbation
from pipeline.workers.memory import out_of_memory

LONG = 4.0
"""Seconds of a pass after which no larger batch is tried."""


@dataclass(frozen=True)
class BatchRate:
    """Passes of one batch size, from pixels on the device to unit vectors.

    Attributes:
        batch: photos at once.
        plain: photos per second.
        perturbed: the same with objects; None for an encoder without cross-attentions.
        peak: bytes above the weights during the perturbed pass (else the plain one); None where torch does not count.
    """

    batch: int
    plain: float
    perturbed: float | None
    peak: int | None


@dataclass(frozen=True)
class Parts:
    """Where the time of Q-Perturbation goes, in milliseconds per photo, each part measured separately.

    Attributes:
        batch: photos at once.
        plain: the whole plain pass, for comparison.
        gram: gathering the objects' keys and multiplying them into Gram matrices.
        eigen: the eigendecompositions, with their check.
        operator: all else that makes the operators: coverage, projectors, sums.
        application: perturbing the queries.
        matrices: eigendecompositions per photo.
    """

    batch: int
    plain: float
    gram: float
    eigen: float
    operator: float
    application: float
    matrices: float

    @property
    def share(self) -> float:
        """Of Q-Perturbation in the whole perturbed pass."""
        extra = self.gram + self.eigen + self.operator + self.application
        return extra / (self.plain + extra)


@dataclass(frozen=True)
class EncoderPasses:
    """The passes of one encoder.

    Attributes:
        rates: by batch size, ascending.
        parts: None for an encoder without cross-attentions.
        weights: bytes of all parameters.
        ended: why no larger batch was tried; "" if all were.
    """

    rates: tuple[BatchRate, ...]
    parts: Parts | None
    weights: int
    ended: str = ""

    @property
    def best(self) -> BatchRate:
        """The batch size with the most plain photos per second."""
        return max(self.rates, key=lambda rate: rate.plain)


@torch.inference_mode()
def measure_passes(
    encoder: Encoder,
    accelerator: Accelerator,
    perturbation: Perturbation,
    *,
    batches: Sequence[int],
    objects: int,
    repetitions: int,
) -> EncoderPasses:
    """Run photos of noise through an encoder.

    Args:
        encoder: on the device.
        accelerator: the device.
        perturbation: how objects act on the queries.
        batches: sizes to try, ascending; the first must fit.
        objects: boxes per photo.
        repetitions: interleaved; the medians are taken.
    """
    photo = encoder.preprocess(Image.effect_noise((640, 480), 80).convert("RGB")).to(accelerator.device)
    rates: list[BatchRate] = []
    seconds, ended = 0.0, ""
    for batch in batches:
        if rates and seconds * batch / rates[-1].batch > LONG:
            ended = f"{batch} photos would take more than {LONG:g} s"
            break
        try:
            rate = _rate(encoder, accelerator, perturbation, photo, batch, objects, repetitions)
        except Exception as error:
            if not rates or not out_of_memory(error):
                raise
            ended = f"{batch} photos do not fit"
            break
        finally:
            accelerator.free()
        rates.append(rate)
        seconds = batch / min(rate.plain, rate.perturbed or rate.plain)
    parts = None
    if encoder.sites():
        batch = max(rate.batch for rate in rates if rate.batch <= 32 or rate is rates[0])
        parts = _parts(encoder, accelerator, perturbation, photo, batch, objects, repetitions)
    # BLIP-2 without captions; its language head is no part of a photo's embedding.
    parameters = encoder.model.parameters()  # type: ignore[attr-defined]
    return EncoderPasses(tuple(rates), parts, sum(weight.nbytes for weight in parameters), ended)


def _rate(
    encoder: Encoder,
    accelerator: Accelerator,
    perturbation: Perturbation,
    photo: Tensor,
    batch: int,
    count: int,
    repetitions: int,
) -> BatchRate:
    pixels, objects = _batch(photo, batch), random_objects(batch, count)
    works: list[Callable[[], object]] = [lambda: encoder.embed(encoder.backbone(pixels))]
    if encoder.sites():
        works.append(lambda: encoder.embed(encoder.backbone(pixels), objects, perturbation))
    rates = [batch / statistics.median(times) for times in interleaved(works, repetitions, accelerator.device)]
    peak = accelerator.peak(works[-1])
    return BatchRate(batch, rates[0], rates[1] if len(rates) > 1 else None, peak)


def _parts(
    encoder: Encoder,
    accelerator: Accelerator,
    perturbation: Perturbation,
    photo: Tensor,
    batch: int,
    count: int,
    repetitions: int,
) -> Parts:
    pixels, objects = _batch(photo, batch), random_objects(batch, count)
    tokens, sites = encoder.backbone(pixels), encoder.sites()
    work = OperatorWork(sites, lambda: encoder.embed(tokens), encoder.vectors, objects, encoder.grid, perturbation)
    grams = work.grams()
    works: list[Callable[[], object]] = [
        lambda: encoder.embed(encoder.backbone(pixels)),
        work.construct,
        work.grams,
        lambda: work.decompose(grams),
        work.enhance,
    ]
    seconds = interleaved(works, repetitions, accelerator.device)
    plain, construction, gram, eigen, application = (1000 * statistics.median(times) / batch for times in seconds)
    matrices = sum(matrix.shape[:-2].numel() for matrix in grams) / batch
    return Parts(batch, plain, gram, eigen, max(0.0, construction - gram - eigen), application, matrices)


def _batch(photo: Tensor, count: int) -> Tensor:
    return photo.expand(count, *photo.shape).contiguous()

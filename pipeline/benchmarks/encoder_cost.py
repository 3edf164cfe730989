"""Table B: milliseconds per photo of an encoder, plain and perturbed, and the share of the subspaces."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from pipeline.benchmarks.operator_work import OperatorWork
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.base import Encoder
from pipeline.encoders.sites import perturbing
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation


@dataclass(frozen=True)
class EncoderCost:
    """Medians in milliseconds per photo.

    Attributes:
        plain: backbone and pooling.
        perturbed: the same with objects.
        construction: making the operators from the keys (the paper's KC), measured separately.
        enhancement: applying them to the queries (QE): pooling with ready operators minus pooling without.
        device: name of the device.
        dtype: number format.
        images: photos in the batch.
        objects: mean number of objects per photo.
    """

    plain: float
    perturbed: float
    construction: float
    enhancement: float
    device: str
    dtype: str
    images: int
    objects: float


@torch.no_grad()
def measure_cost(
    encoder: Encoder, objects: Sequence[Objects], perturbation: Perturbation, repetitions: int = 9
) -> EncoderCost:
    """Time the encoder on one batch of photos of noise.

    Args:
        encoder: on the device to measure.
        objects: one `Objects` per photo of the batch.
        perturbation: how objects act on the queries.
        repetitions: interleaved; the medians are returned.
    """
    images = len(objects)
    pixels = torch.stack([encoder.preprocess(Image.effect_noise(o.size, 80).convert("RGB")) for o in objects])
    pixels = pixels.to(encoder.device)
    tokens = encoder.backbone(pixels)
    sites = encoder.sites()
    work = OperatorWork(sites, lambda: encoder.embed(tokens), encoder.vectors, objects, encoder.grid, perturbation)

    def embed_with_operators() -> None:
        with perturbing(sites, work.operators):
            encoder.embed(tokens)

    works: list[Callable[[], object]] = [
        lambda: encoder.embed(encoder.backbone(pixels)),
        lambda: encoder.embed(encoder.backbone(pixels), objects, perturbation),
        work.construct,
        lambda: encoder.embed(tokens),
        embed_with_operators,
    ]
    plain, perturbed, construction, pooling, with_operators = interleaved(works, repetitions, encoder.device)
    enhancement = [after - before for before, after in zip(pooling, with_operators, strict=True)]
    plain_ms, perturbed_ms, construction_ms, enhancement_ms = (
        1000 * statistics.median(times) / images for times in (plain, perturbed, construction, enhancement)
    )
    return EncoderCost(
        plain_ms,
        perturbed_ms,
        construction_ms,
        enhancement_ms,
        device=device_name(encoder.device),
        dtype=str(encoder.dtype).removeprefix("torch."),
        images=images,
        objects=sum(map(len, objects)) / images,
    )


def device_name(device: torch.device) -> str:
    """The name of a GPU, or the CPU with its threads, for tables of times."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type

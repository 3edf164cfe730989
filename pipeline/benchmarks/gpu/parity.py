"""How far the device's embeddings are from the CPU's, with the bundled miniatures, whose weights are learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.benchmarks.gpu.accelerator import Accelerator, exact_products
from pipeline.encoders.base import Encoder
from pipeline.encoders.registry import load_encoder
from pipeline.method.settings import Perturbation
from pipeline.stages.probe_photos import probe_photos
from pipeline.workers.device_check import distance

PHOTOS = 8


@dataclass(frozen=True)
class Parity:
    """The largest 1 - cosine between vectors of the device and those of the CPU in float32, over all photos.

    Attributes:
        encoder: its name.
        dtype: on the device; float32 without TF32.
        plain: without objects.
        perturbed: with objects.
    """

    encoder: str
    dtype: str
    plain: float
    perturbed: float


def measure_parity(accelerator: Accelerator, names: Sequence[str], perturbation: Perturbation) -> list[Parity]:
    """Each encoder in float32 and in the half-precision formats of the device."""
    found = []
    for name in names:
        want = _embeddings(load_encoder(name), perturbation)
        for dtype in ("float32", *accelerator.dtypes):
            with exact_products():
                got = _embeddings(load_encoder(name, device=str(accelerator.device), dtype=dtype), perturbation)
            plain, perturbed = (float(distance(one, other)) for one, other in zip(want, got, strict=True))
            found.append(Parity(name, dtype, plain, perturbed))
        accelerator.free()
    return found


@torch.inference_mode()
def _embeddings(encoder: Encoder, perturbation: Perturbation) -> list[npt.NDArray[np.float32]]:
    """Unit vectors [P, V, D], plain and perturbed."""
    photos = probe_photos(PHOTOS)
    tokens = encoder.backbone(torch.stack([encoder.preprocess(image) for image, _ in photos]))
    objects = [objects for _, objects in photos]
    return [encoder.embed(tokens).cpu().numpy(), encoder.embed(tokens, objects, perturbation).cpu().numpy()]

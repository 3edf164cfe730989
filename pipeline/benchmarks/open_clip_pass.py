"""The cost of Q-Perturbation in models of open_clip: whole passes at real size, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.benchmarks.encoder_cost import EncoderCost, measure_cost
from pipeline.benchmarks.operator_work import mean_tokens, random_objects
from pipeline.encoders.open_clip.encoder import OpenClipEncoder
from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation


@dataclass(frozen=True)
class ModelCost:
    """One model's passes.

    Attributes:
        model: its name in open_clip.
        tokens: image tokens.
        tokens_per_object: mean number of image tokens that a box touches.
        cost: of a photo.
    """

    model: str
    tokens: int
    tokens_per_object: float
    cost: EncoderCost

    def __str__(self) -> str:
        cost = self.cost
        return (
            f"{self.model:<26} {self.tokens:>5} tokens, {self.tokens_per_object:>5.0f} in a box;"
            f" plain {cost.plain:8.1f} ms, perturbed {cost.perturbed:8.1f};"
            f" KC {cost.construction:6.2f} + QE {cost.enhancement:5.2f} ms ="
            f" {(cost.construction + cost.enhancement) / cost.plain:.4f} of a plain pass"
        )


@dataclass(frozen=True)
class ModelCosts:
    """The passes of several models."""

    models: tuple[ModelCost, ...]

    def __str__(self) -> str:
        first = self.models[0].cost
        heading = f"{first.images} photo(s), {first.objects:g} boxes each, {first.dtype}, {first.device}"
        return "\n".join([heading, *map(str, self.models)])


def measure_models(
    names: Sequence[str], images: int, objects: int, repetitions: int, perturbation: Perturbation | None
) -> ModelCosts:
    """Time each model in turn; one at a time is in memory.

    Args:
        names: of open_clip's models; they need a cross-attention.
        images: photos in the batch.
        objects: boxes per photo.
        repetitions: interleaved; the medians are returned.
        perturbation: how objects act on the queries; None for the paper's.

    Raises:
        QpertError: no such model, or one without a cross-attention.
    """
    boxes = random_objects(images, objects)
    costs = []
    for name in names:
        encoder = _random_encoder(name)
        cost = measure_cost(encoder, boxes, perturbation or Perturbation.paper(), repetitions)
        costs.append(ModelCost(name, encoder.grid.tokens, mean_tokens(boxes, encoder.grid), cost))
    return ModelCosts(tuple(costs))


def _random_encoder(name: str) -> OpenClipEncoder:
    import open_clip

    from pipeline.encoders.open_clip.config import ModelConfig
    from pipeline.encoders.open_clip.library import build

    if name not in open_clip.list_models():
        raise QpertError(f"open_clip has no model {name!r}: qpert models --all lists them")
    model = build(ModelConfig.of(open_clip.get_model_config(name), name))
    if hasattr(model, "text"):
        model.text = None  # it takes memory, and is not measured
    encoder = OpenClipEncoder.from_model(model)
    if not encoder.sites():
        raise QpertError(f"{name} has no cross-attention for objects to act on: there is nothing to measure")
    return encoder

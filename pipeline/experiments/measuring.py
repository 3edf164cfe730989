"""The task that measures: every variant of the feature sets, with the texts embedded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.text import EmbeddedTexts, load_text_encoder


@dataclass(frozen=True)
class Variant:
    """One embedding of all photos: where it is, and whether the scores of object embeddings are added to its own."""

    out: str
    name: str
    with_objects: bool = False


def measure(
    variants: Mapping[str, Variant],
    captions: Sequence[CaptionedImage],
    areas: Mapping[str, float],
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> dict[str, Ranks]:
    """The ranks of every variant, under the names given. Plain data in and out, so that a Ray task can run it.

    Args:
        variants: what to measure; all of one encoder.
        captions: the queries, and the gallery.
        areas: largest object's area by image id, for the size bins.
        weights: where the encoder's weights are now, if they have moved.
        device: torch device for the texts.
        dtype: of the encoder that reads them.
    """
    first = next(iter(variants.values()))
    encoder = load_text_encoder(FeatureSet.open(first.out, first.name), weights=weights, device=device, dtype=dtype)
    embedded = EmbeddedTexts.of(encoder, captions)
    found = {}
    for name, variant in variants.items():
        features = FeatureSet.open(variant.out, variant.name)
        evaluation = evaluate(features, captions, embedded, areas=areas, with_objects=variant.with_objects)
        found[name] = evaluation.ranks
    return found

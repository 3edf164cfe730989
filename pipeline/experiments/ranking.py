"""The ranks of every variant of a feature set, with the texts embedded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.experiments.variants import Variant
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.text import EmbeddedTexts, load_text_encoder


def rank_variants(
    variants: Mapping[str, Variant],
    captions: Sequence[CaptionedImage],
    areas: Mapping[str, float] | None,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> dict[str, Ranks]:
    """The ranks of every variant, by its name. Plain data in and out, so that it can run as a Ray task.

    Args:
        variants: the variants, all of one encoder.
        captions: the queries, and the gallery.
        areas: largest object's area by image id, for the size bins; None: those of the features.
        weights: see `load_text_encoder`.
        device: torch device of the text encoder.
        dtype: number format of the text encoder.
    """
    first = next(iter(variants.values()))
    encoder = load_text_encoder(first.store.open(first.name), weights=weights, device=device, dtype=dtype)
    texts = EmbeddedTexts.of(encoder, captions)
    ranks = {}
    for name, variant in variants.items():
        features = variant.store.open(variant.name)
        how: dict[str, Any] = {"with_objects": variant.with_objects, "combine": variant.combine}
        evaluation = evaluate(features, captions, texts, areas=areas, views=variant.views or None, **how)
        ranks[name] = evaluation.ranks
    return ranks

"""`pipeline.search`: the best photos of a text."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, overload

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.encoders.text_towers import OneAtATime, TextEncoder
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of
from pipeline.queries import exact
from pipeline.queries.hits import Hits
from pipeline.retrieval.text import TextEncoderChoice, load_chosen

Dtype = Literal["float32", "float16", "bfloat16"]


@lru_cache(maxsize=1)
def _last_encoder(choice: TextEncoderChoice) -> TextEncoder:
    """One, because a large encoder fills a GPU. Weights that have changed have another digest, and are loaded anew."""
    return OneAtATime(load_chosen(choice))


@overload
def search(  # type: ignore[overload-overlap]  # a str is a Sequence[str]
    features: FeatureSet | str | os.PathLike[str],
    texts: str,
    top: int = ...,
    *,
    min_score: float | None = ...,
    weights: str | None = ...,
    device: str = ...,
    dtype: Dtype = ...,
    rules: SourceRules = ...,
) -> Hits: ...


@overload
def search(
    features: FeatureSet | str | os.PathLike[str],
    texts: Sequence[str],
    top: int = ...,
    *,
    min_score: float | None = ...,
    weights: str | None = ...,
    device: str = ...,
    dtype: Dtype = ...,
    rules: SourceRules = ...,
) -> list[Hits]: ...


def search(
    features: FeatureSet | str | os.PathLike[str],
    texts: str | Sequence[str],
    top: int = 10,
    *,
    min_score: float | None = None,
    weights: str | None = None,
    device: str = "cpu",
    dtype: Dtype = "float32",
    rules: SourceRules = DEFAULT_RULES,
) -> Hits | list[Hits]:
    """The best photos of each text, exactly: every photo is compared, block by block, in this process.

    The text encoder of the last call is kept for the next one with the same weights, device and dtype.

        hits = pipeline.search("features/", "a small red star", top=5)
        hits[0].image_id, hits[0].score, hits[0].uri
        hits                        # in a notebook: thumbnails

    Args:
        features: a feature set, or its path or URI.
        texts: one text, or several.
        top: photos per text; fewer are returned where fewer exist or reach `min_score`.
        min_score: photos below this cosine are left out.
        weights: the encoder's weights, if they are files: files that a feature set names are not opened unasked.
        device: torch device of the text encoder.
        dtype: number format of the text encoder.
        rules: which photos a notebook may open for thumbnails.

    Returns:
        The `Hits` of the text, best first; for several texts a list of `Hits`, one for each.

    Raises:
        QpertError: no features, an empty text, an encoder that cannot be loaded, or `top` below 1.
    """
    queries = [texts] if isinstance(texts, str) else list(texts)
    if not all(query.strip() for query in queries):
        raise QpertError("a text to search for is empty; write what the photo should show")
    opened = features if isinstance(features, FeatureSet) else FeatureSet.open(os.fspath(features))
    if warning := warning_of(opened.manifest):
        warnings.warn(warning, stacklevel=2)
    found = exact.search(
        opened, queries, top, min_score=min_score, weights=weights, device=device, dtype=dtype, load=_last_encoder
    )
    answers = [replace(hits, rules=rules) for hits in found]
    return answers[0] if isinstance(texts, str) else answers

"""`pipeline.search`: the best photos of a text, of a photo, or of several of them added up."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, overload

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.queries.encoding import ChosenEncoder, SetEncoder
from pipeline.queries.filters import Filters
from pipeline.queries.hits import Hits
from pipeline.queries.query import Query, Term
from pipeline.queries.searching import Collection
from pipeline.retrieval.text import TextEncoderChoice, load_chosen

Dtype = Literal["float32", "float16", "bfloat16"]
OneSet = FeatureSet | str | os.PathLike[str]
_NO_FILTERS = Filters()


@lru_cache(maxsize=1)
def _last_encoder(choice: TextEncoderChoice) -> ChosenEncoder:
    """One, because a large encoder fills a GPU. Weights that have changed have another digest, and are loaded anew."""
    return ChosenEncoder(choice, load_chosen)


@overload
def search(  # type: ignore[overload-overlap]  # a str is a Sequence[str]
    features: OneSet | Sequence[OneSet] | Collection,
    texts: str | Query,
    top: int = ...,
    *,
    offset: int = ...,
    min_score: float | None = ...,
    filters: Filters = ...,
    fold: float | None = ...,
    exact: bool = ...,
    cache: bool = ...,
    weights: str | None = ...,
    device: str = ...,
    dtype: Dtype = ...,
    rules: SourceRules = ...,
) -> Hits: ...


@overload
def search(
    features: OneSet | Sequence[OneSet] | Collection,
    texts: Sequence[str | Query],
    top: int = ...,
    *,
    offset: int = ...,
    min_score: float | None = ...,
    filters: Filters = ...,
    fold: float | None = ...,
    exact: bool = ...,
    cache: bool = ...,
    weights: str | None = ...,
    device: str = ...,
    dtype: Dtype = ...,
    rules: SourceRules = ...,
) -> list[Hits]: ...


def search(
    features: OneSet | Sequence[OneSet] | Collection,
    texts: str | Query | Sequence[str | Query],
    top: int = 10,
    *,
    offset: int = 0,
    min_score: float | None = None,
    filters: Filters = _NO_FILTERS,
    fold: float | None = None,
    exact: bool = False,
    cache: bool = True,
    weights: str | None = None,
    device: str = "cpu",
    dtype: Dtype = "float32",
    rules: SourceRules = DEFAULT_RULES,
) -> Hits | list[Hits]:
    """The best photos of each text or `Query`, in this process: by an index where the set has one, else exactly.

    The encoder of the last call is kept for the next one with the same weights, device and dtype.

        hits = pipeline.search("features/", "a small red star", top=5)
        hits[0].image_id, hits[0].score, hits[0].uri
        hits                        # in a notebook: thumbnails

        stripes = pipeline.Query((pipeline.Term(image="horse.jpg"), pipeline.Term(text="stripes", weight=0.5)))
        pipeline.search(["features-1/", "features-2/"], stripes)

    Args:
        features: a feature set, or its path or URI; several of one encoder; or sets that `Collection.open` has opened,
            which saves opening them again for each call.
        texts: one text or `Query`, or several. A `Query` says itself how many hits it wants, and of which photos: `top`
            to `exact` are for texts.
        top: photos per text; fewer are returned where fewer exist or reach `min_score`.
        offset: photos to leave out at the beginning.
        min_score: photos below this score are left out.
        filters: which photos count.
        fold: cosine from which on near-duplicates hang on the best of them (`Hit.folded`); None: they are hits.
        exact: compare every photo, whatever index there is.
        cache: keep a copy of the vectors beside the features that is quicker to read.
        weights: the encoder's weights, if they are files: files that a feature set names are not opened unasked.
        device: torch device of the encoder.
        dtype: number format of the encoder.
        rules: which photos may be opened: those of a `Query`, and in a notebook those found, for thumbnails.

    Returns:
        The `Hits` of the text or query, best first; for several a list of `Hits`, one for each.

    Raises:
        QpertError: no features, sets of different encoders, an empty text, an encoder that cannot be loaded, a photo
            that cannot be opened, an unknown id, or numbers out of range.
    """
    one = isinstance(texts, str | Query)
    asked = [texts] if isinstance(texts, str | Query) else list(texts)
    queries = [
        text
        if isinstance(text, Query)
        else Query((Term(text=text),), filters, k=top, offset=offset, min_score=min_score, fold=fold, exact=exact)
        for text in asked
    ]
    collection = _opened(features, cache)
    for note in (collection.warning, *collection.notes, *collection.remarks(queries)):
        if note:
            warnings.warn(note, stacklevel=2)
    encoder = SetEncoder(collection.features[0], weights=weights, device=device, dtype=dtype, load=_last_encoder)
    answers = [replace(hits, rules=rules) for hits in collection.answer(queries, encoder, rules=rules)]
    return answers[0] if one else answers


def _opened(features: OneSet | Sequence[OneSet] | Collection, cache: bool) -> Collection:
    if isinstance(features, Collection):
        return features
    sets = [features] if isinstance(features, FeatureSet | str | os.PathLike) else list(features)
    if not sets:
        raise QpertError("no feature set is named")
    return Collection.open([one if isinstance(one, FeatureSet) else os.fspath(one) for one in sets], cache=cache)

"""Evaluation of a feature set: captions joined to photos by id, ranks without the full score matrix.

Nothing here knows Ray or a command line, so a Ray task can call `evaluate` as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from pipeline.datasets.karpathy import CaptionedImage
from pipeline.errors import QpertError
from pipeline.features import FeatureSet
from pipeline.retrieval.recall import Ints, Ranker, RecallReport, report_from_ranks
from pipeline.retrieval.similarity import Float32, image_scores, texts_per_tile, vector_blocks

_ROUNDING = 1e-6
"""Scores this close are ties: the last bits of a float32 matrix product depend on the shape of its tile."""


@dataclass(frozen=True)
class Evaluation:
    """A report, and what did not take part in it."""

    report: RecallReport
    missing: tuple[str, ...]
    """Captioned images that the features do not hold."""
    failed: dict[str, str]
    """Captioned images that could not be indexed, with the reason."""
    ignored: int
    """Indexed photos that are not among the captioned images: they are no distractors."""


def evaluate(
    features: FeatureSet,
    captions: Sequence[CaptionedImage],
    embed_texts: Callable[[list[str]], Float32],
    *,
    areas: Mapping[str, float] | None = None,
    ks: Iterable[int] = (1, 5, 10),
) -> Evaluation:
    """Recall of `captions` over `features`, text to image and image to text.

    The images of `captions` that have features are the gallery, so that a split of a larger index can be evaluated.
    They are found by their id, or by their file name where the ids of the features begin with folders. The features
    are read twice, block by block; scores exist one tile at a time.

    Args:
        features: the indexed photos.
        captions: images with their captions; one without captions is a distractor.
        embed_texts: texts -> unit vectors [T, D], from the encoder of the features.
        areas: largest object's area (0..1) by image id of `captions`; an absent image has no object. None: what the
            features say.
        ks: the K of Recall@K.

    Raises:
        QpertError: nothing in common, a name that fits two photos, a wrong dimension, NaN.
    """
    wanted = {image.image_id: image.captions for image in captions}
    names = _join([*features.ids, *features.failures], wanted)
    gallery = [names[image_id] for image_id in features.ids if image_id in names]
    failed = {names[image_id]: reason for image_id, reason in features.failures.items() if image_id in names}
    texts = [caption for name in gallery for caption in wanted[name]]
    if not texts:
        raise QpertError(_nothing_in_common(features, captions))
    owners = np.repeat(np.arange(len(gallery)), [len(wanted[name]) for name in gallery])
    ranker = _rank(features, names, embed_texts(texts), owners, len(gallery))
    report = report_from_ranks(
        *ranker.ranks(),
        image_of_text=owners,
        areas=_stored_areas(features, names) if areas is None else [areas.get(name) for name in gallery],
        ks=ks,
    )
    present = {*gallery, *failed}
    missing = tuple(name for name in wanted if name not in present)
    return Evaluation(report, missing, failed, len(features.ids) - len(gallery))


def _rank(features: FeatureSet, names: Mapping[str, str], texts: Float32, owners: Ints, images: int) -> Ranker:
    """Counts the photos and texts before each right answer; `owners` ascend."""
    if texts.shape[1] != features.dim:
        raise QpertError(f"the texts have dimension {texts.shape[1]}, the features {features.dim}: different encoders")
    positives = np.empty(len(texts), np.float32)
    for first, vectors in _gallery_blocks(features, names):
        low, high = np.searchsorted(owners, [first, first + len(vectors)])
        for start in range(low, high, len(vectors)):
            part = slice(start, min(start + len(vectors), high))
            positives[part] = np.einsum("tvd,td->tv", vectors[owners[part] - first], texts[part]).max(axis=1)
    ranker = Ranker(owners, images, tolerance=_ROUNDING)
    ranker.set_positives(positives)
    for first, vectors in _gallery_blocks(features, names):
        step = texts_per_tile(vectors)
        for start in range(0, len(texts), step):
            tile = image_scores(vectors, texts[start : start + step])
            ranker.count(tile, first_image=first, first_text=start)
    return ranker


def _gallery_blocks(features: FeatureSet, names: Mapping[str, str]) -> Iterator[tuple[int, Float32]]:
    """Unit vectors [n, V, D] of the photos in `names`, with the number of the first one."""
    first = 0
    for batch, vectors in vector_blocks(features):
        rows = [row for row, image_id in enumerate(batch["image_id"].to_pylist()) if image_id in names]
        if rows:
            yield first, vectors if len(rows) == len(vectors) else vectors[rows]
            first += len(rows)


def _stored_areas(features: FeatureSet, names: Mapping[str, str]) -> np.ndarray:
    """The features' own largest area, float32 [images], NaN without objects."""
    areas = [
        np.nan if area is None else area
        for block in features.iter_blocks(["image_id", "largest_area"])
        for image_id, area in zip(block["image_id"].to_pylist(), block["largest_area"].to_pylist(), strict=True)
        if image_id in names
    ]
    return np.array(areas, np.float32)


def _join(image_ids: Sequence[str], wanted: Collection[str]) -> dict[str, str]:
    """Photo id -> name in `wanted`: the same, or else the file name at the end of the id."""
    names: dict[str, str] = {}
    owner: dict[str, str] = {}
    exact = {image_id for image_id in image_ids if image_id in wanted}
    for image_id in image_ids:
        name = image_id if image_id in exact else PurePosixPath(image_id).name
        if name not in wanted or (name in exact and name != image_id):
            continue
        if name in owner:
            raise QpertError(f"{name} of the captions fits two photos of the features: {owner[name]} and {image_id}")
        names[image_id], owner[name] = name, image_id
    return names


def _nothing_in_common(features: FeatureSet, captions: Sequence[CaptionedImage]) -> str:
    here, there = next(iter(features.ids), "none"), next((image.image_id for image in captions), "none")
    return (
        f"no captioned image has features: {features.out} holds photos such as {here}, the captions images such as "
        f"{there}; are these captions of these photos?"
    )

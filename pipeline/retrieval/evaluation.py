"""Evaluation of a feature set: captions joined to photos by id, ranks without the full score matrix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.names import join_names
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.candidates import CandidateCollector, Candidates
from pipeline.retrieval.ranks import Ints, Ranker, Ranks, size_bins
from pipeline.retrieval.recall import RecallReport, check_cutoffs, report_of
from pipeline.retrieval.similarity import Float32, TileScorer, image_scores, texts_per_tile, unit, vector_blocks

_ROUNDING = 1e-6
"""Scores within this distance are ties: the last bits of a float32 matrix product depend on its tile's shape."""
_KEPT_CELLS = 1 << 27
"""float32 numbers (512 MiB) of a gallery that stays in memory between the two passes; a larger one is read twice."""
_GATHERED = 64
"""Texts whose own photos' vectors are copied side by side: few enough for the cache."""
_OBJECT_ROWS = 256
"""Photos whose object embeddings are in memory at once: a photo may have many objects of many vectors."""


@dataclass(frozen=True)
class Evaluation:
    """A report, the ranks behind it, and what took no part in it."""

    report: RecallReport
    ranks: Ranks
    """The images in the order of the features, by their names in the captions."""
    missing: tuple[str, ...]
    """Captioned images that are not in the features."""
    failed: dict[str, str]
    """Captioned images that could not be indexed, with the reasons."""
    ignored: int
    """Number of indexed photos outside the captions; they are not distractors."""
    candidates: Candidates | None = None
    """The best answers of each query (photos numbered as in `ranks.image_ids`, texts as in `texts`)."""
    texts: tuple[str, ...] = ()
    """The captions of the gallery, photo by photo."""
    photo_ids: tuple[str, ...] = ()
    """The gallery's photos by their names in the features, in the order of `ranks.image_ids`."""


def evaluate(
    features: FeatureSet,
    captions: Sequence[CaptionedImage],
    embed_texts: Callable[[list[str]], Float32],
    *,
    areas: Mapping[str, float] | None = None,
    ks: Iterable[int] = (1, 5, 10),
    with_objects: bool = False,
    candidates: int | None = None,
) -> Evaluation:
    """Recall of `captions` over `features`, text to image and image to text.

    The gallery is the images of `captions` that have features, so that a split of a larger index can be evaluated.
    They are joined by id, or by file name where the ids of the features begin with folders, in any Unicode normal form.
    Large features are read twice, block by block; scores exist one tile at a time.

    Args:
        features: the indexed photos.
        captions: images with their captions; an image without captions is a distractor.
        embed_texts: texts -> unit vectors [T, D], from the encoder of the features.
        areas: largest object's area (0..1) by image id of `captions`; an absent image has no object. None: those of
            the features.
        ks: the K of Recall@K.
        with_objects: add to each score the highest similarity of the text with the photo's object embeddings (OEs,
            Table A). A photo without objects counts as its own object, so that it has a second score too.
        candidates: number of best answers of each query to keep for `rerank`.

    Raises:
        QpertError: no image in common, a name that fits two photos, a wrong dimension, NaN, no object embeddings.
    """
    cutoffs = check_cutoffs(ks)
    wanted = {image.image_id: image.captions for image in captions}
    names = _join([*features.ids, *features.failures], wanted)
    gallery = [names[image_id] for image_id in features.ids if image_id in names]
    failed = {names[image_id]: reason for image_id, reason in features.failures.items() if image_id in names}
    texts = [caption for name in gallery for caption in wanted[name]]
    if not texts:
        raise QpertError(_nothing_in_common(features, captions))
    owners = np.repeat(np.arange(len(gallery)), [len(wanted[name]) for name in gallery])
    if with_objects and "object_embeddings" not in features.dataset.schema.names:
        raise QpertError(f"{features.root} holds no object embeddings")
    collector = None if candidates is None else CandidateCollector(len(gallery), len(texts), candidates)
    ranker = _rank(features, names, embed_texts(texts), owners, len(gallery), with_objects, collector)
    sizes = _stored_areas(features, names) if areas is None else [areas.get(name) for name in gallery]
    ranks = Ranks(*ranker.ranks(), owners, size_bins(sizes, len(gallery)), tuple(gallery))
    present = {*gallery, *failed}
    missing = tuple(name for name in wanted if name not in present)
    return Evaluation(
        report_of(ranks, cutoffs),
        ranks,
        missing,
        failed,
        ignored=len(features.ids) - len(gallery),
        candidates=None if collector is None else collector.candidates(owners),
        texts=tuple(texts),
        photo_ids=tuple(image_id for image_id in features.ids if image_id in names),
    )


def _rank(
    features: FeatureSet,
    names: Mapping[str, str],
    texts: Float32,
    owners: Ints,
    images: int,
    with_objects: bool,
    collector: CandidateCollector | None,
) -> Ranker:
    """Counts the photos and texts ranked before each right answer; `owners` ascend."""
    if texts.shape[1] != features.dim:
        raise QpertError(f"the texts have dimension {texts.shape[1]}, the features {features.dim}: different encoders")
    small = images * features.vectors * features.dim <= _KEPT_CELLS and not with_objects
    kept = list(_gallery_blocks(features, names)) if small else None
    positives = np.empty(len(texts), np.float32)
    for first, parts in kept or _gallery_blocks(features, names, with_objects):
        count = len(parts[0])
        low, high = np.searchsorted(owners, [first, first + count])
        for start in range(low, high, _GATHERED):
            part = slice(start, min(start + _GATHERED, high))
            own = owners[part] - first
            positives[part] = sum(np.einsum("tvd,td->tv", vectors[own], texts[part]).max(axis=1) for vectors in parts)
    ranker = Ranker(owners, images, tolerance=_ROUNDING)
    ranker.set_positives(positives)
    scorer = TileScorer()
    for first, parts in kept or _gallery_blocks(features, names, with_objects):
        for start, tile in scorer.tiles(parts[0], texts) if len(parts) == 1 else _sum_tiles(parts, texts):
            ranker.count(tile, first_image=first, first_text=start)
            if collector is not None:
                collector.count(tile, first_image=first, first_text=start)
    return ranker


def _sum_tiles(parts: list[Float32], texts: Float32) -> Iterator[tuple[int, Float32]]:
    """Like `TileScorer.tiles`, for the sum of several scores."""
    step = min(texts_per_tile(vectors) for vectors in parts)
    for start in range(0, len(texts), step):
        tiles = [image_scores(vectors, texts[start : start + step]) for vectors in parts]
        yield start, np.add.reduce(tiles)


def _gallery_blocks(
    features: FeatureSet, names: Mapping[str, str], with_objects: bool = False
) -> Iterator[tuple[int, list[Float32]]]:
    """Yields the number of the first photo of a block, and the unit vectors [n, V, D] of its photos in `names`.

    `with_objects` adds a second array [n, W, D]: the vectors of all objects of each photo.
    """
    first = 0
    for batch, vectors in vector_blocks(features, ["object_embeddings"] if with_objects else []):
        rows = [row for row, image_id in enumerate(batch["image_id"].to_pylist()) if image_id in names]
        chosen = vectors if len(rows) == len(vectors) else vectors[rows]
        of_objects = features.object_embeddings(batch) if with_objects else []
        step = _OBJECT_ROWS if with_objects else max(1, len(rows))
        for start in range(0, len(rows), step):
            parts = [chosen[start : start + step]]
            if with_objects:
                parts.append(_padded(parts[0], [of_objects[row] for row in rows[start : start + step]], features.root))
            yield first, parts
            first += len(parts[0])


def _padded(vectors: Float32, of_objects: list[np.ndarray], out: str) -> Float32:
    """Object vectors [n, most objects * V, D], padded with the first object's, which changes no maximum."""
    present = [of_photo if len(of_photo) else own[None] for own, of_photo in zip(vectors, of_objects, strict=True)]
    most = max(map(len, present))
    padded = [np.concatenate([part, np.repeat(part[:1], most - len(part), axis=0)]) for part in present]
    return unit(np.stack(padded).reshape(len(vectors), -1, vectors.shape[2]), f"the object embeddings of {out}")


def _stored_areas(features: FeatureSet, names: Mapping[str, str]) -> np.ndarray:
    """The largest area that the features store, float32 [images]; NaN without objects."""
    areas = [
        np.nan if area is None else area
        for block in features.iter_blocks(["image_id", "largest_area"])
        for image_id, area in zip(block["image_id"].to_pylist(), block["largest_area"].to_pylist(), strict=True)
        if image_id in names
    ]
    return np.array(areas, np.float32)


def _join(image_ids: Sequence[str], wanted: Collection[str]) -> dict[str, str]:
    """Photo id -> name in `wanted` (see `join_names`)."""
    names, ambiguous = join_names(image_ids, wanted)
    if ambiguous:
        name, *both = ambiguous[0]
        raise QpertError(f"{name} of the captions fits two photos of the features: {' and '.join(both)}")
    return names


def _nothing_in_common(features: FeatureSet, captions: Sequence[CaptionedImage]) -> str:
    photo, image = next(iter(features.ids), "none"), next((image.image_id for image in captions), "none")
    return (
        f"no captioned image has features: {features.root} holds photos such as {photo}, the captions images such as "
        f"{image}; are these captions of these photos?"
    )

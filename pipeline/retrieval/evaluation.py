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
from pipeline.retrieval.ranks import Copies, Ints, Ranker, Ranks, size_bins
from pipeline.retrieval.recall import RecallReport, check_cutoffs, report_of
from pipeline.retrieval.similarity import Float32, TileScorer, bounded_blocks, unit
from pipeline.retrieval.view_scores import ALL_VIEWS, GATE, OBJECT_SUM, Combine, ViewScore, score_tiles

_ROUNDING = 1e-6
"""Scores within this distance are ties: the last bits of a float32 matrix product depend on its tile's shape."""
_KEPT_CELLS = 1 << 27
"""float32 numbers (512 MiB) of a gallery that stays in memory between the two passes; a larger one is read twice."""
_GATHERED = 64
"""Texts whose own photos' vectors are copied side by side: few enough for the cache."""
_GATHERED_CELLS = 1 << 22
"""float32 numbers in these copies, where photos have very many vectors."""
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
    views: Sequence[str] | None = None,
    combine: Combine = "max",
    gate: float = GATE,
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
        views: the kinds of views that count, see `ViewScore`, of features with several per photo; None for all.
        combine: how their scores become the photo's.
        gate: threshold of the combination `gate`.

    Raises:
        QpertError: no image in common, a name that fits two photos, a wrong dimension, NaN, no object embeddings, or no
            such views.
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
    scoring = ViewScore(None if views is None else tuple(views), combine, gate)
    if with_objects and scoring != ALL_VIEWS:
        raise QpertError("object embeddings are added to plain scores (with_objects), or are views: choose one")
    scoring.check(features)
    if with_objects and "object_embeddings" not in features.dataset.schema.names:
        raise QpertError(f"{features.root} holds no object embeddings")
    collector = None if candidates is None else CandidateCollector(len(gallery), len(texts), candidates)
    copies = _copies(captions, gallery)
    if copies is not None and collector is not None:
        raise QpertError("captions of several copies of a photo cannot be re-ranked: name the captions of one level")
    gallery_of = _Gallery(features, names, with_objects, OBJECT_SUM if with_objects else scoring)
    ranker = _rank(gallery_of, embed_texts(texts), owners, len(gallery), collector, copies)
    sizes = _stored_areas(features, names) if areas is None else [areas.get(name) for name in gallery]
    photos = None if copies is None else copies.photos
    ranks = Ranks(*ranker.ranks(), owners, size_bins(sizes, len(gallery)), tuple(gallery), photos)
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


@dataclass(frozen=True)
class _Gallery:
    """The photos of `features` that are in `names`, and how their cosines become scores."""

    features: FeatureSet
    names: Mapping[str, str]
    with_objects: bool
    scoring: ViewScore

    def blocks(self) -> Iterator[tuple[int, list[Float32]]]:
        """Yields the number of the first photo of a block, and the unit vectors [n, V, D] of its photos.

        Several arrays where their scores are combined; `with_objects`, the second is [n, W, D]: the vectors of all
        objects of each photo.
        """
        features, first = self.features, 0
        columns = ["object_embeddings"] if self.with_objects else list(self.scoring.columns(features))
        for batch in bounded_blocks(features, columns):
            rows = [row for row, image_id in enumerate(batch["image_id"].to_pylist()) if image_id in self.names]
            if not rows:
                continue
            if not self.with_objects:
                parts = self.scoring.vectors(features, batch)
                parts = [part if len(rows) == len(part) else part[rows] for part in parts]
                yield first, parts
                first += len(rows)
                continue
            (vectors,) = ALL_VIEWS.vectors(features, batch)
            of_objects = features.object_embeddings(batch)
            for start in range(0, len(rows), _OBJECT_ROWS):
                some = rows[start : start + _OBJECT_ROWS]
                own = vectors[some]
                yield first, [own, _padded(own, [of_objects[row] for row in some], features.root)]
                first += len(some)


def _rank(
    gallery: _Gallery,
    texts: Float32,
    owners: Ints,
    images: int,
    collector: CandidateCollector | None,
    copies: Copies | None,
) -> Ranker:
    """Counts the photos and texts ranked before each right answer; `owners` ascend."""
    features, scoring = gallery.features, gallery.scoring
    if texts.shape[1] != features.dim:
        raise QpertError(f"the texts have dimension {texts.shape[1]}, the features {features.dim}: different encoders")
    small = images * features.vectors * features.dim <= _KEPT_CELLS
    kept = list(gallery.blocks()) if small and not gallery.with_objects and not features.manifest.multi else None
    positives = np.empty(len(texts), np.float32)
    for first, parts in kept or gallery.blocks():
        count = len(parts[0])
        low, high = np.searchsorted(owners, [first, first + count])
        step = max(1, min(_GATHERED, *(_GATHERED_CELLS // (v.shape[1] * v.shape[2]) for v in parts)))
        for start in range(low, high, step):
            part = slice(start, min(start + step, high))
            own = owners[part] - first
            best = [np.einsum("tvd,td->tv", vectors[own], texts[part]).max(axis=1) for vectors in parts]
            positives[part] = scoring(best)
    ranker = Ranker(owners, images, tolerance=_ROUNDING, copies=copies)
    ranker.set_positives(positives)
    scorer = TileScorer()
    for first, parts in kept or gallery.blocks():
        for start, tile in score_tiles(parts, texts, scoring, scorer):
            ranker.count(tile, first_image=first, first_text=start)
            if collector is not None:
                collector.count(tile, first_image=first, first_text=start)
    return ranker


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


def _copies(captions: Sequence[CaptionedImage], gallery: Sequence[str]) -> Copies | None:
    """The copies in the gallery; None if the captions know of none."""
    photos = {image.image_id: image.copy_of or image.image_id for image in captions}
    if all(name == photo for name, photo in photos.items()):
        return None
    numbers: dict[str, int] = {}
    levels: dict[str, int] = {}
    pairs = [
        (
            numbers.setdefault(photos[name], len(numbers)),
            levels.setdefault(name.removesuffix(photos[name]), len(levels)),
        )
        for name in gallery
    ]
    return Copies(*np.array(pairs, np.int64).T)


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

"""Finding duplicates in feature sets: by their vectors, or by their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from pipeline.duplicates.by_bytes import group_by_bytes
from pipeline.duplicates.by_index import group_by_index
from pipeline.duplicates.catalogue import Catalogue, Int64, PhotoVectors
from pipeline.duplicates.estimate import estimate
from pipeline.duplicates.formats import Comparison, Preference
from pipeline.duplicates.grouping import Groups, group_all
from pipeline.duplicates.sketches import Sketches
from pipeline.duplicates.state_file import StateFile
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.photo_similarity import check_threshold
from pipeline.vectors.snapshot import Snapshot

_LONG = 3600.0
"""Seconds of comparing all pairs from which on an index is used if there is one."""
_GROUPS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Groups of photos that are near-duplicates of their first photo, or have its bytes.

    Attributes:
        catalogue: all photos.
        order: the photos in the order in which they are worth keeping, as places in the catalogue.
        found: their groups, as places in `order`.
        threshold: similarity from which on photos count as near-duplicates; None if their bytes are the same.
        how: how the photos were compared, for display.
        notes: what the user should know, such as what can be missed.
    """

    catalogue: Catalogue
    order: Int64
    found: Groups
    threshold: float | None
    how: str
    notes: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> list[Int64]:
        """The groups as places in `order`, leaders first: those of most photos first, then by their leaders."""
        return sorted(self.found.several(), key=lambda group: (-len(group), group[0]))

    @property
    def surplus(self) -> int:
        """Photos in groups that are not the first of theirs."""
        return sum(map(len, self.groups)) - len(self.groups)

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        """The photos of each group, its leader first, the others by similarity.

        Each has `set` (its name), `image_id`, `uri`, `width`, `height`, `size` (bytes), `taken`, `similarity` to the
        first, and whether it is the `largest` (pixels, then bytes) and the `oldest` of its group.
        """
        groups = iter(self.groups)
        while some := list(islice(groups, _GROUPS_AT_ONCE)):
            places = np.concatenate(some)
            rows = iter(self.catalogue.rows(self.order[places]))
            for group in some:
                photos = list(islice(rows, len(group)))
                for photo, similarity in zip(photos, self.found.similarities[group].tolist(), strict=True):
                    photo["set"] = self.catalogue.sets[photo["set"]]
                    photo["similarity"] = round(similarity, 6)
                first, *others = photos
                yield _marked([first, *sorted(others, key=lambda photo: -photo["similarity"])])


def find_same_bytes(sets: Sequence[FeatureSet], first: Preference) -> Duplicates:
    """Photos with the same bytes, by their stored digests.

    Args:
        sets: opened feature sets.
        first: which photo of a group is its first.
    """
    catalogue = Catalogue.with_digests(sets)
    order = catalogue.order(first)
    groups, unknown = group_by_bytes(catalogue, order)
    notes = (f"{unknown:,} photos have no digest and were not compared: photos of URLs and of early versions",)
    return Duplicates(catalogue, order, groups, None, "by the digests of their bytes", notes if unknown else ())


def find_similar(
    snapshots: Sequence[Snapshot],
    threshold: float,
    first: Preference = "largest",
    compare: Comparison = "auto",
    *,
    state: str | None = None,
    reading: Callable[[int], object] = lambda photos: None,
    grouping: Callable[[int], object] = lambda photos: None,
) -> Duplicates:
    """Photos whose vectors are similar (`pipeline.retrieval.photo_similarity`).

    Args:
        snapshots: opened sets of the same encoder.
        threshold: similarity from which on photos count as near-duplicates.
        first: which photo of a group is its first.
        compare: ``all`` pairs, but for those ruled out by their sketches; the nearest photos that an approximate
            ``index`` finds; or ``auto``: all pairs, unless that takes hours and there is an index.
        state: file to keep an interrupted comparison in, and to go on from.
        reading: called with the number of photos whose vectors have been read.
        grouping: called with the number of photos whose groups are complete.

    Raises:
        QpertError: a threshold that is no similarity, no index to use, or a state file of another comparison.
    """
    check_threshold(threshold)
    catalogue = Catalogue.of_snapshots(snapshots)
    order = catalogue.order(first)
    vectors = PhotoVectors.of(snapshots, catalogue, order)
    several = max((most_vectors(snapshot) for snapshot in snapshots), default=1)
    by_index = chosen_comparison(snapshots, compare)
    kept = None
    if state is not None:
        kept = StateFile(state, [*(one.version for one in snapshots), threshold, first, by_index])
    groups = (kept.load(len(vectors)) if kept is not None else None) or Groups.none(len(vectors))

    def progress(now: Groups) -> None:
        grouping(now.done)
        if kept is not None:
            kept.keep(now)

    try:
        if by_index:
            group_by_index(vectors, threshold, groups, progress)
        else:
            sketches = Sketches.of(vectors, (several, snapshots[0].features.dim), reading)
            group_all(vectors, sketches, threshold, groups, progress)
    except BaseException:  # Ctrl-C above all
        if kept is not None:
            kept.keep(groups, now=True)
        raise
    if kept is not None:
        kept.remove()
    how = "by the nearest photos in the index" if by_index else "all pairs"
    return Duplicates(catalogue, order, groups, threshold, how, _what_is_missed(by_index, several))


def chosen_comparison(snapshots: Sequence[Snapshot], compare: Comparison) -> bool:
    """Whether to use the approximate index of some sets.

    Raises:
        QpertError: it is demanded, but a set has none, or its photos have several vectors.
    """
    several = any(most_vectors(snapshot) > 1 for snapshot in snapshots)
    without = [snapshot.features.root for snapshot in snapshots if not snapshot.approximate]
    if compare == "index" and several:
        raise QpertError("photos with several vectors are compared with all others; leave --compare index out")
    if compare == "index" and without:
        raise QpertError(
            f"{without[0]} has no approximate index: make one with qpert build-index, or use --compare all"
        )
    if compare == "auto" and not several and not without:
        return estimate(sum(int(snapshot.live.sum()) for snapshot in snapshots)).seconds > _LONG
    return compare == "index"


def most_vectors(snapshot: Snapshot) -> int:
    """Vectors of the photo that has the most."""
    counts = snapshot.photos.column("vectors")
    return max(1, int(np.asarray(counts.to_numpy()).max(initial=1)))


def _what_is_missed(by_index: bool, several: int) -> tuple[str, ...]:
    if by_index:
        return ("near-duplicates that the approximate index does not find are missing; --compare all misses none",)
    if several > 1:
        return (
            "photos have several vectors: missing are near-duplicates of which several vectors of one have the same"
            " nearest vector of the other",
        )
    return ()


def _marked(photos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`photos` with the marks of the largest and the oldest, one of each; none is the oldest if no date is known."""

    def area(photo: dict[str, Any]) -> tuple[int, int]:
        return (photo["width"] or 0) * (photo["height"] or 0), photo["size"] or 0

    largest = max(photos, key=area)
    dated = [photo for photo in photos if photo["taken"] is not None]
    oldest = min(dated, key=lambda photo: photo["taken"], default=None)
    for photo in photos:
        photo["largest"], photo["oldest"] = photo is largest, photo is oldest
    return photos

"""Groups of photos: each is led by the photo to keep, and every other photo in it is similar to that one.

The photos are gone through in the order in which they are worth keeping. One that no group has taken leads a group of
its own, which takes all later photos that are similar to it and not yet taken. So a group never chains photos that have
little in common, as connected components would; a photo that is similar to others of a group but not to its leader is
not in it. Pairs are never stored, so that memory grows with the photos alone, even if all of them are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.catalogue import Int64, PhotoVectors
from pipeline.duplicates.sketches import Sketches
from pipeline.retrieval.photo_similarity import photo_similarity
from pipeline.retrieval.similarity import Float32

NONE = -1
ROWS = 1024
"""Photos that are compared at once with others."""
COLUMNS = 16_384
"""The others."""
_CELLS = 1 << 23
"""Numbers in the vectors that are read at once."""


@dataclass(eq=False)
class Groups:
    """Who leads whom, of N photos in the order in which they are worth keeping.

    Attributes:
        leaders: int64 [N], the leader of each photo's group, itself for a leader; `NONE` while none has taken it.
        similarities: float32 [N], of each photo and its leader.
        done: photos whose groups are complete; later photos may be in groups of these.
    """

    leaders: Int64
    similarities: npt.NDArray[np.float32]
    done: int = 0

    @classmethod
    def none(cls, count: int) -> Groups:
        """No groups yet."""
        return cls(np.full(count, NONE, np.int64), np.ones(count, np.float32))

    def take(self, leader: int, photo: int, similarity: float) -> None:
        """Puts a photo into the group of a leader."""
        self.leaders[photo], self.similarities[photo] = leader, similarity

    def open(self, start: int, stop: int) -> Int64:
        """The photos from `start` to `stop` that no group has taken."""
        return start + np.flatnonzero(self.leaders[start:stop] == NONE)

    def several(self) -> list[Int64]:
        """The groups of at least two photos, each with its leader first."""
        order = np.argsort(self.leaders, kind="stable")
        cuts = np.flatnonzero(np.diff(self.leaders[order])) + 1
        return [group for group in np.split(order, cuts) if len(group) > 1]


def group_all(
    vectors: PhotoVectors,
    sketches: Sketches,
    threshold: float,
    groups: Groups,
    progress: Callable[[Groups], object] = lambda groups: None,
) -> None:
    """Compares all photos, but for pairs that their sketches rule out, and completes `groups`.

    Args:
        vectors: of N photos in the order in which they are worth keeping.
        sketches: of the same photos.
        threshold: similarity from which on photos belong together.
        groups: none, or those of an interrupted comparison.
        progress: called now and then with `groups`, which may be kept to go on from.
    """
    at_once = _photos_at_once(vectors)
    for start in range(groups.done, len(vectors), ROWS):
        stop = min(start + ROWS, len(vectors))
        rows = groups.open(start, stop)
        if len(rows):
            of_rows = dict(zip(rows.tolist(), vectors.take(rows), strict=True))
            ones, others = sketches.near(rows, rows, threshold)
            earlier = ones < others
            _take_similar(groups, rows[ones[earlier]], rows[others[earlier]], of_rows, of_rows, threshold)
            leaders = groups.open(start, stop)
            groups.leaders[leaders] = leaders
            for first in range(stop, len(vectors), COLUMNS):
                columns = groups.open(first, min(first + COLUMNS, len(vectors)))
                ones, others = sketches.near(leaders, columns, threshold)
                candidates = np.unique(others)
                for part in range(0, len(candidates), at_once):
                    some = candidates[part : part + at_once]
                    chosen = (others >= some[0]) & (others <= some[-1])
                    of_columns = dict(zip(columns[some].tolist(), vectors.take(columns[some]), strict=True))
                    pairs = leaders[ones[chosen]], columns[others[chosen]]
                    _take_similar(groups, *pairs, of_rows, of_columns, threshold)
        groups.done = stop
        progress(groups)


def _take_similar(
    groups: Groups,
    leaders: Int64,
    photos: Int64,
    of_leaders: dict[int, Float32],
    of_photos: dict[int, Float32],
    threshold: float,
) -> None:
    """Puts each photo into the first group that it belongs to.

    Args:
        groups: a photo that has been taken leads nothing, and is not taken again.
        leaders: [p], of each candidate pair the photo that may lead.
        photos: [p], the other; pairs are sorted by it, then by `leaders`.
        of_leaders: vectors by photo.
        of_photos: vectors by photo.
        threshold: see `group_all`.
    """
    for leader, photo in zip(leaders.tolist(), photos.tolist(), strict=True):
        if groups.leaders[photo] == NONE and groups.leaders[leader] in (NONE, leader):
            similarity = photo_similarity(of_leaders[leader], of_photos[photo])
            if similarity >= threshold:
                groups.take(leader, photo, similarity)


def _photos_at_once(vectors: PhotoVectors) -> int:
    """How many photos to read together, by the size of the first."""
    sizes = [rows.size for rows in vectors.take(np.arange(min(1, len(vectors))))]
    return max(1, _CELLS // max([1, *sizes]))

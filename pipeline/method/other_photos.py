"""Boxes of other photos in place of a photo's own: the control for what the boxes say about *this* photo."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class OtherPhotos:
    """The boxes of a set of photos, from which every photo can be given as many boxes of others.

    Photos with equally many boxes swap them: in a random order, each takes those of the next, so that every layout
    appears once and none stays where it was. A photo that is the only one with its number of boxes takes that many,
    at random, of those of all other photos.

    Args:
        photos: the id of each photo and its boxes [n, 4], as fractions (0..1) of the photo's width and height.
    """

    def __init__(self, photos: Iterable[tuple[str, npt.ArrayLike]]) -> None:
        boxes = {name: np.asarray(of_photo, np.float32).reshape(-1, 4) for name, of_photo in sorted(photos)}
        counts = np.array([len(of_photo) for of_photo in boxes.values()], np.int64)
        self._place = {name: place for place, name in enumerate(boxes)}
        self._ends = np.cumsum([0, *counts])
        self._boxes: Floats = np.concatenate([np.zeros((0, 4), np.float32), *boxes.values()])
        self._next: dict[int, npt.NDArray[np.int64]] = {}

    def of(self, photo: str, seed: int) -> Floats:
        """Boxes of other photos for `photo`, as many as its own: float32 [n, 4], the same for the same set and seed.

        None ([0, 4]) for a photo that is not among these, that has no boxes, or if no other photo has any.
        """
        place = self._place.get(photo)
        if place is None:
            return np.zeros((0, 4), np.float32)
        donor = self._donors(seed)[place]
        if donor != place:
            return self._of(int(donor))
        begin, end = self._ends[place], self._ends[place + 1]
        others = np.concatenate([self._boxes[:begin], self._boxes[end:]])
        if not len(others):
            return others
        count = int(end - begin)
        generator = np.random.default_rng([seed, place])
        return others[generator.choice(len(others), count, replace=count > len(others))]

    def _of(self, place: int) -> Floats:
        return self._boxes[self._ends[place] : self._ends[place + 1]]

    def _donors(self, seed: int) -> npt.NDArray[np.int64]:
        """The photo whose boxes each photo takes; itself if no other has as many."""
        if seed not in self._next:
            counts = np.diff(self._ends)
            order = np.random.default_rng(seed).permutation(len(counts))
            donors = np.arange(len(counts))
            for count in np.unique(counts):
                alike = order[counts[order] == count]
                donors[alike] = np.roll(alike, -1)
            self._next[seed] = donors
        return self._next[seed]

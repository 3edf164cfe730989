"""Measures how far the devices of a run differ, by their embeddings of a few fixed photos. Needs no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Kind = tuple[str, str]
"""Name of a device, and the dtype that its encoder computes in."""
_EXACT = ("float32", "float16", "bfloat16")
"""The most exact first."""


class DeviceCheck:
    """The embeddings that the encoders of a run made of `pipeline.stages.probe_photos`."""

    def __init__(self) -> None:
        self._first: dict[Kind, npt.NDArray[np.float32]] = {}
        self._within: dict[Kind, float] = {}

    def add(self, kind: Kind, vectors: npt.NDArray[np.float32]) -> None:
        """Adds the embeddings of one encoder.

        Args:
            kind: name of its device, and its dtype.
            vectors: float32 [P, V, D], unit vectors.
        """
        known = self._first.setdefault(kind, vectors)
        self._within[kind] = max(self._within.get(kind, 0.0), distance(known, vectors))

    def differences(self) -> dict[Kind, float]:
        """Largest 1 - cosine of each kind to the most exact kind, and among the devices of the kind itself."""
        if not self._first:
            return {}
        exact = min(self._first, key=lambda kind: (_EXACT.index(kind[1]), kind))
        return {
            kind: max(distance(self._first[exact], vectors), self._within[kind])
            for kind, vectors in self._first.items()
        }


def distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The largest 1 - cosine of corresponding unit vectors [P, V, D]; 2 where the shapes differ."""
    if one.shape != other.shape:
        return 2.0
    return max(0.0, float((1 - (one * other).sum(-1)).max(initial=0.0)))

"""How far the devices of a run differ, by what they make of a few photos (`probe_photos`). Knows no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_EXACT = ("float32", "float16", "bfloat16")
"""From the most exact on."""


class Probes:
    """What the encoders of a run made of the probe photos."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
        self.within: dict[tuple[str, str], float] = {}

    def add(self, kind: tuple[str, str], vectors: npt.NDArray[np.float32]) -> None:
        """Those of one encoder.

        Args:
            kind: name of its device, and its dtype.
            vectors: float32 [P, V, D], unit vectors.
        """
        known = self.first.setdefault(kind, vectors)
        self.within[kind] = max(self.within.get(kind, 0.0), distance(known, vectors))

    def differences(self) -> dict[tuple[str, str], float]:
        """By kind, how far it is from the most exact kind there is, itself included where its devices differ."""
        if not self.first:
            return {}
        exact = min(self.first, key=lambda kind: (_EXACT.index(kind[1]), kind))
        return {
            kind: max(distance(self.first[exact], vectors), self.within[kind]) for kind, vectors in self.first.items()
        }


def distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The largest 1 - cosine of vectors at the same place."""
    if one.shape != other.shape:
        return 2.0
    return max(0.0, float((1 - (one * other).sum(-1)).max(initial=0.0)))

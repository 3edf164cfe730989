"""The score of a text for a photo with several views: the best of them, or a combination of whole and part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.views import VIEWS, WHOLE
from pipeline.retrieval.similarity import Float32, TileScorer, image_scores, texts_per_tile, unit

Combine = Literal["max", "gate", "sum"]
GATE = 0.25
"""The threshold that LARE states for CLIP; cosines of other models have another level."""
_MOST, _SLOPE = 0.5, 2.0
"""LARE's largest share of the part, and how fast it grows with the lead of the part."""


@dataclass(frozen=True)
class ViewScore:
    """How the cosines of a photo's views become its score.

    Attributes:
        views: the kinds that count (`pipeline.features.views.VIEWS`); None for all that the photos have. A photo that
            has none of them counts as a whole.
        combine: `max`: the highest cosine of these views. `sum`: that of the photo as a whole plus the highest of the
            other views, as the paper scores object embeddings. `gate`: that of the photo as a whole, s_g, where it
            reaches `gate` or no other view scores higher; else (1 - a) s_g + a s_r, where s_r is the highest cosine of
            the other views and a = min(2 (s_r - s_g), 0.5) (LARE).
        gate: threshold of `gate`, a cosine.

    Raises:
        QpertError: an unknown kind or combination, or a gate that is not a cosine.
    """

    views: tuple[str, ...] | None = None
    combine: Combine = "max"
    gate: float = GATE

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combine):
            raise QpertError(f"unknown combination {self.combine!r}; choose one of {', '.join(get_args(Combine))}")
        unknown = [kind for kind in self.views or () if kind not in VIEWS]
        if unknown or self.views == ():
            raise QpertError(f"unknown views {', '.join(unknown) or 'none'}; choose among {', '.join(VIEWS)}")
        if not -1 <= self.gate <= 1:
            raise QpertError(f"the gate is a cosine, from -1 to 1, not {self.gate:g}")

    def check(self, features: FeatureSet) -> None:
        """Refuse features that do not have these views.

        Raises:
            QpertError: with what they have.
        """
        made = [kind.removesuffix("s") for kind in features.manifest.multi]
        missing = [kind for kind in self.views or () if kind not in (WHOLE, *made)]
        if missing or (self.combine != "max" and not made):
            raise QpertError(
                f"{features.root} has no views {', '.join(missing) or 'beside the whole photo'}; it has:"
                f" {', '.join([WHOLE, *made])} (qpert index --multi makes others)"
            )

    def columns(self, features: FeatureSet) -> tuple[str, ...]:
        """Columns of `features` to read beside the embedding."""
        return ("views",) if features.manifest.multi and self._groups != (None,) else ()

    @cached_property
    def _groups(self) -> tuple[tuple[str, ...] | None, ...]:
        """The kinds of views whose highest cosines are combined."""
        if self.combine == "max":
            return (self.views,)
        others = tuple(kind for kind in self.views or VIEWS if kind != WHOLE)
        return (WHOLE,), others

    def vectors(self, features: FeatureSet, batch: pa.RecordBatch) -> list[Float32]:
        """Unit vectors [n, W, D] of the photos of a batch: one array, or two, of the whole photos and of the others."""
        first, last = batch["image_id"][0], batch["image_id"][-1]
        what = f"{features.root}, photos {first} to {last}"
        if not features.manifest.multi:
            return [unit(features.embeddings(batch), what)]
        return [unit(features.view_embeddings(batch, kinds), what) for kinds in self._groups]

    def __call__(self, scores: Sequence[Float32]) -> Float32:
        """The scores of photos from the highest cosines with the arrays of `vectors`, of any shape."""
        if len(scores) == 1:
            return scores[0]
        whole, part = scores
        if self.combine == "sum":
            return np.add(whole, part)
        lead = part - whole
        share = np.clip(_SLOPE * lead, 0, _MOST)
        mixed: Float32 = np.where(whole >= self.gate, whole, whole + share * lead)
        return mixed


ALL_VIEWS = ViewScore()
"""The highest cosine of all vectors of a photo."""
OBJECT_SUM = ViewScore(combine="sum")
"""Plain score plus that of the best object embedding."""


def score_tiles(
    parts: Sequence[Float32], texts: Float32, scoring: ViewScore, scorer: TileScorer
) -> Iterator[tuple[int, Float32]]:
    """Yields the number of the first text and the scores [n, t] of photos from the arrays of `ViewScore.vectors`.

    As `TileScorer.tiles`, also where scores are combined from several.
    """
    if len(parts) == 1:
        yield from scorer.tiles(parts[0], texts)
        return
    step = min(texts_per_tile(vectors) for vectors in parts)
    for start in range(0, len(texts), step):
        yield start, scoring([image_scores(vectors, texts[start : start + step]) for vectors in parts])

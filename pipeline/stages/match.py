"""The match stage: an actor around an encoder that scores photos with texts by its matching head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from pipeline.encoders.base import Encoder
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.stages.columns import objects_from_row
from pipeline.stages.encode import EncoderBuilder
from pipeline.stages.photo_stage import Outcomes, PhotoStage
from pipeline.workers.photo_mapper import Row
from pipeline.workers.reporting import Reporter
from pipeline.workers.transfer import stack_on
from pipeline.workers.worker import Worker, load_model

MATCH_SCHEMA = pa.schema([("image_id", pa.string()), ("scores", pa.list_(pa.float32())), ("error", pa.string())])
"""One row per photo: a matching score for each of its texts, null when the photo failed."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """One photo as the encoder takes it (pixels float32 [3, S, S], objects), and the numbers of its texts."""

    pixels: torch.Tensor
    objects: Objects
    texts: list[int]


class MatchStage(PhotoStage[Candidates, Scores]):
    """From photos with `objects` and `texts` (numbers) to rows of `MATCH_SCHEMA`.

    Args:
        build: makes the encoder.
        texts: all texts, by their number.
        perturbation: acts if its stages include `itm`.
        worker: how the actor works.
        reporter: where it reports.
    """

    stage, model, reads, last = "match", "matching", ("objects", "texts"), True
    schema = MATCH_SCHEMA

    def __init__(
        self,
        build: EncoderBuilder,
        texts: Sequence[str],
        perturbation: Perturbation | None,
        worker: Worker,
        reporter: Reporter,
    ) -> None:
        self.texts, self.perturbation = texts, perturbation
        super().__init__(build, worker, reporter)

    def load(self) -> None:
        """See `PhotoStage`."""
        self.encoder: Encoder = load_model("encoder", lambda: self.build(device=self.device.torch, dtype=self.dtype))

    def prepare(self, image: Image.Image, row: Row) -> Candidates:
        """See `PhotoStage`."""
        objects = objects_from_row(row["objects"], image.size, row["image_id"])
        return Candidates(self.encoder.preprocess(image), objects, row["texts"])

    @torch.inference_mode()
    def run(self, items: Sequence[Candidates]) -> list[Scores]:
        """See `PhotoStage`. The image tokens of all photos are computed together, the scores photo by photo."""
        tokens = self.encoder.backbone(stack_on([photo.pixels for photo in items], self.encoder.device))
        results = []
        for number, photo in enumerate(items):
            texts = [self.texts[text] for text in photo.texts]
            scores = self.encoder.match(tokens[number : number + 1], texts, [photo.objects], self.perturbation)
            results.append(scores.float().cpu().numpy())
        if not all(np.isfinite(scores).all() for scores in results):
            raise ValueError(f"a matching score is not finite in {self.encoder.dtype}")
        return results

    def columns(self, table: pa.Table, outcomes: Outcomes[Scores]) -> Mapping[str, pa.Array]:
        """See `PhotoStage`."""
        return {"scores": pa.array(outcomes.results, MATCH_SCHEMA.field("scores").type)}

"""The match stage: an actor around an encoder that scores photos with texts by its matching head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.runs.run_stats import Reporter
from pipeline.stages.columns import objects_from_row
from pipeline.stages.encode import EncoderBuilder
from pipeline.stages.probe_photos import probe_photos
from pipeline.workers.micro_batching import Failure, load
from pipeline.workers.worker import PhotoMapper, Worker, set_threads

MATCH_SCHEMA = pa.schema([("image_id", pa.string()), ("scores", pa.list_(pa.float32())), ("error", pa.string())])
"""One row per photo: a matching score for each of its texts, null when the photo failed."""

Row = tuple[str, bytes, list[dict[str, Any]] | None, list[int]]
Item = tuple[torch.Tensor, Objects, list[int]]


class MatchStage:
    """`map_batches` calls it with photos' bytes, `objects` and `texts` (numbers); it returns `MATCH_SCHEMA`.

    Args:
        build: makes the encoder.
        texts: all texts, by their number.
        perturbation: acts where its stages include `itm`.
        worker: how the actor works.
        reporter: where it reports.
    """

    def __init__(
        self,
        build: EncoderBuilder,
        texts: Sequence[str],
        perturbation: Perturbation | None,
        worker: Worker,
        reporter: Reporter,
    ) -> None:
        reporter.loading()
        set_threads(worker.threads)
        self.texts, self.perturbation = texts, perturbation
        self.worker, self.reporter = worker, reporter
        self.device = worker.find_device(worker.gpu)
        dtype = self.device.dtype(worker.dtype)
        self.encoder = load("encoder", lambda: build(device=self.device.torch, dtype=dtype))
        guard = worker.guard("match", self.device, self._match, self._probe, "matching", reporter)
        self.map = PhotoMapper("match", self._prepare, guard, worker, reporter)
        reporter.device("match", self.device.name)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Scores of the photos of a block."""
        errors = table["error"].to_pylist()
        todo = [at for at, error in enumerate(errors) if error is None]
        columns = (table[name].to_pylist() for name in ("image_id", "data", "objects", "texts"))
        rows = list(zip(*columns, strict=True))
        scores: list[npt.NDArray[np.float32] | None] = [None] * len(errors)
        seconds = 0.0
        for at, (result, spent) in zip(todo, self.map([rows[at] for at in todo]), strict=True):
            seconds += spent
            if isinstance(result, Failure):
                errors[at] = result.reason
            else:
                scores[at] = result
        failures = Counter(error for error in errors if error is not None)
        self.reporter.batch("match", self.device.name, photos=len(errors), seconds=seconds, failures=failures)
        arrays = [
            pa.array(column, field.type) for field, column in zip(MATCH_SCHEMA, ((), scores, errors), strict=True)
        ]
        return pa.Table.from_arrays([table["image_id"], *arrays[1:]], schema=MATCH_SCHEMA)

    def _prepare(self, row: Row) -> Item:
        image = self.worker.decode(row[1])
        return self.encoder.preprocess(image), objects_from_row(row[2], image.size), row[3]

    @torch.inference_mode()
    def _match(self, items: Sequence[Item]) -> list[npt.NDArray[np.float32]]:
        tokens = self.encoder.backbone(torch.stack([item[0] for item in items]))
        found = []
        for number, (_, objects, texts) in enumerate(items):
            chosen = [self.texts[text] for text in texts]
            scores = self.encoder.match(tokens[number : number + 1], chosen, [objects], self.perturbation)
            found.append(scores.float().cpu().numpy())
        if not all(np.isfinite(each).all() for each in found):
            raise ValueError(f"a matching score is not finite in {self.encoder.dtype}")
        return found

    def _probe(self, count: int) -> None:
        image, objects = probe_photos(1)[0]
        self._match([(self.encoder.preprocess(image), objects, [0])] * count)

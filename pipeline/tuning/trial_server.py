"""The desk where trials ask for a setting: questions that wait together are answered by one pass over the tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
import ray

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from pipeline.experiments.outcomes import Outcomes
from pipeline.experiments.settings import PLAIN
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.metrics import metrics_of
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.text import EmbeddedTexts
from pipeline.tuning.token_embedder import Kept, kept_photos

Batch = Mapping[tuple[str, float], tuple[Perturbation | None, asyncio.Future[dict[str, float]]]]
"""By key and share: settings that are answered together, and where their answers are waited for."""
_LINGER = 0.3
"""Seconds to wait for further questions before a pass begins; trials start one after the other."""
_PING = 60.0
"""Seconds in which a sweeper that lives says so, on however busy a machine."""
_PASS_BYTES = 2**30
"""Vectors that one pass may make."""


@dataclass(frozen=True)
class Question:
    """What is measured on: the photos' plain features with kept tokens, and what is asked of them.

    Attributes:
        store: the feature set.
        captions: the queries, and the gallery.
        texts: all captions, embedded.
        areas: largest object's area by image id; None: what the features say.
    """

    store: FeatureStore
    captions: Sequence[CaptionedImage]
    texts: EmbeddedTexts
    areas: Mapping[str, float] | None


@dataclass
class Counters:
    """What was done so far, for the summary."""

    passes: int = 0
    embedded: int = 0
    found: int = 0
    embedding_seconds: float = 0.0
    measuring_seconds: float = 0.0


def key_of(setting: Perturbation | None, share: float = 1.0) -> str:
    """Under which a setting's outcome is kept."""
    name = PLAIN if setting is None else fingerprint(setting.as_dict())
    return name if share == 1 else f"{name}-{share:g}"


class Desk:
    """An async actor. What it has found out is on disk, so that no setting is embedded twice, whoever is killed.

    Args:
        question: what is measured on.
        sweepers: actors of `Sweeper`.
        outcomes: folder for the ranks of every setting.
        patience: seconds without any answer after which sweepers are asked whether they are alive.
    """

    def __init__(self, question: Question, sweepers: Sequence[Any], outcomes: str, patience: float) -> None:
        self.sweepers, self.patience = list(sweepers), patience
        self.outcomes, self.counters = Outcomes(Path(outcomes)), Counters()
        self.features = question.store.open(PLAIN)
        self.shared = ray.put(question)
        self.waiting: dict[tuple[str, float], tuple[Perturbation | None, asyncio.Future[dict[str, float]]]] = {}
        self.working: asyncio.Task[None] | None = None
        self.kept = kept_photos(self.features)

    async def counts(self) -> Counters:
        """What was done so far."""
        return self.counters

    async def ask(self, setting: Perturbation | None, share: float = 1.0) -> dict[str, float]:
        """The metrics (see `metrics_of`) of one setting, None for plain, on a share of the photos."""
        key = key_of(setting, share)
        found = self.outcomes.find(key)
        if found is not None:
            self.counters.found += 1
            return metrics_of(found)
        if (key, share) not in self.waiting:
            self.waiting[key, share] = setting, asyncio.get_running_loop().create_future()
        _, future = self.waiting[key, share]
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._work())
        return await asyncio.shield(future)

    async def expect(self, settings: Sequence[Perturbation | None]) -> None:
        """Settings that will be asked for: worked out together now, so that their trials find them, or what failed."""
        await asyncio.gather(*(self.ask(setting) for setting in settings), return_exceptions=True)

    async def _work(self) -> None:
        await asyncio.sleep(_LINGER)
        while self.waiting:
            share = next(iter(self.waiting))[1]
            keys = [key for key in self.waiting if key[1] == share][: self._at_once()]
            await self._try({key: self.waiting[key] for key in keys})
            for key in keys:
                del self.waiting[key]

    async def _try(self, batch: Batch) -> None:
        """Answer together or, where that fails, one by one: no setting pays for another."""
        try:
            await self._answer(batch)
        except Exception as error:
            left = {key: each for key, each in batch.items() if not each[1].done()}
            if len(batch) > 1:
                for key, each in left.items():
                    await self._try({key: each})
                return
            for _, future in left.values():
                future.set_exception(error)
                future.exception()  # somebody may have stopped waiting for it

    def _at_once(self) -> int:
        features = self.features
        return max(1, _PASS_BYTES // max(1, len(features) * features.vectors * features.dim * 2))

    async def _answer(self, batch: Batch) -> None:
        loop, ((_, share), *_) = asyncio.get_running_loop(), batch
        kept = share_of(self.kept, share)
        started = loop.time()
        vectors = await self._embed(kept, [setting for setting, _ in batch.values()])
        self.counters.passes += 1
        self.counters.embedded += len(batch)
        self.counters.embedding_seconds += loop.time() - started
        started = loop.time()
        rows = np.array(sorted(row for each in kept for row in each.rows), np.int64)
        task = ray.remote(num_cpus=1)(rank_setting)
        measured = [task.remote(self.shared, rows, ray.put(each)) for each in vectors]
        for (key, _), (_, future), reference in zip(batch, batch.values(), measured, strict=True):
            ranks: Ranks = await reference
            self.outcomes.keep(key, ranks)
            future.set_result(metrics_of(ranks))
        self.counters.measuring_seconds += loop.time() - started

    async def _embed(self, kept: Sequence[Kept], settings: Sequence[Perturbation | None]) -> npt.NDArray[Any]:
        """Vectors [S, n, V * D] of the photos in `kept`, in the order of their rows."""
        parts = [part for part in dealt(kept, len(self.sweepers)) if part]
        found = np.concatenate(await self._answers(parts, settings), axis=1)
        rows = [row for part in parts for each in part for row in each.rows]
        return found[:, np.argsort(rows)]

    async def _answers(
        self, parts: Sequence[Sequence[Kept]], settings: Sequence[Perturbation | None]
    ) -> list[npt.NDArray[Any]]:
        """What sweepers make of each part. One whose machine is gone, and has no other, is replaced by the rest."""
        dealt_to = dict(enumerate(self.sweepers[: len(parts)]))
        asked: dict[asyncio.Future[Any], int] = {}
        answers: dict[int, npt.NDArray[Any]] = {}
        while len(answers) < len(parts):
            busy = set(asked.values())
            for number, actor in dealt_to.items():
                if number not in answers and number not in busy:
                    asked[asyncio.ensure_future(actor.embed.remote(parts[number], settings))] = number
            done, _ = await asyncio.wait(asked, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                answers[asked.pop(task)] = task.result()
            if not done:
                await self._leave_out_the_lost()
                for task, number in list(asked.items()):
                    if dealt_to[number] not in self.sweepers:
                        del asked[task]
                        dealt_to[number] = self.sweepers[number % len(self.sweepers)]
        return [answers[number] for number in range(len(parts))]

    async def _leave_out_the_lost(self) -> None:
        pings = [asyncio.ensure_future(actor.alive.remote()) for actor in self.sweepers]
        await asyncio.wait(pings, timeout=_PING)
        there = [
            actor for actor, ping in zip(self.sweepers, pings, strict=True) if ping.done() and not ping.exception()
        ]
        if not there:
            raise QpertError("no actor answers any more: is the cluster whole? Run the same command again to go on")
        self.sweepers = there


def rank_setting(question: Question, rows: npt.NDArray[np.int64], vectors: npt.NDArray[Any]) -> Ranks:
    """The ranks of one setting, as `qpert evaluate` finds them; run as a Ray task.

    Args:
        question: what is measured on.
        rows: which photos of the feature set, ascending.
        vectors: their vectors [n, V * D].
    """
    features = with_vectors(question.store.open(PLAIN), rows, vectors)
    return evaluate(features, question.captions, question.texts, areas=question.areas).ranks


def with_vectors(features: FeatureSet, rows: npt.NDArray[np.int64], vectors: npt.NDArray[Any]) -> FeatureSet:
    """The photos `rows` of `features` (in the order of its ids) with other vectors [n, V * D], in memory."""
    columns = [name for name in features.dataset.schema.names if name not in ("embedding", "object_embeddings")]
    blocks = list(features.iter_blocks(columns))
    table = pa.Table.from_batches(blocks).take(pa.array(rows))
    kind = features.dataset.schema.field("embedding").type
    ends = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * vectors.shape[1])
    table = table.append_column("embedding", pa.ListArray.from_arrays(ends, pa.array(vectors.ravel(), kind.value_type)))
    manifest = features.manifest.model_copy(update={"variants": []})
    return FeatureSet(features.folder, manifest, features.vectors, features.dim, ds.dataset(table))


def share_of(kept: Sequence[Kept], share: float) -> list[Kept]:
    """The first calls that hold that share of the photos."""
    wanted, chosen = share * sum(len(each.rows) for each in kept), list[Kept]()
    count = 0
    for each in kept:
        if count >= wanted:
            break
        chosen.append(each)
        count += len(each.rows)
    return chosen


def dealt(kept: Sequence[Kept], hands: int) -> list[list[Kept]]:
    """The photos dealt to so many actors, whole files each, about evenly."""
    parts: list[list[Kept]] = [[] for _ in range(hands)]
    counts = [0] * hands
    file, hand = "", 0
    for each in kept:
        if each.file != file:
            file, hand = each.file, counts.index(min(counts))
        parts[hand].append(each)
        counts[hand] += len(each.rows)
    return parts

"""The server that trials ask for the metrics of a setting; concurrent requests share one pass over the tokens."""

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
from pipeline.experiments.variants import PLAIN
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.metrics import metrics_of
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.text import EmbeddedTexts
from pipeline.tuning.token_embedder import TokenBatch, token_batches

Requests = Mapping[tuple[str, float], tuple[Perturbation | None, asyncio.Future[dict[str, float]]]]
"""By key and share: settings that are embedded together, and the futures of their metrics."""
_LINGER = 0.3
"""Seconds to wait for further requests before a pass begins; trials start one after the other."""
_PING = 60.0
"""Seconds within which a living actor answers a ping, however busy its machine is."""
_PASS_BYTES = 2**30
"""Upper limit of the vectors of one pass, in bytes."""


@dataclass(frozen=True)
class TrialData:
    """The photos, captions and texts that every trial is measured on.

    Attributes:
        store: the feature set of plain features with kept tokens.
        captions: the queries, and the gallery.
        texts: all captions, embedded.
        areas: largest object's area by image id; None: those of the features.
        shuffles: seeds of the settings with shuffled boxes.
    """

    store: FeatureStore
    captions: Sequence[CaptionedImage]
    texts: EmbeddedTexts
    areas: Mapping[str, float] | None
    shuffles: tuple[int, ...] = ()


@dataclass
class ServerStats:
    """What a `TrialServer` has done, for the summary."""

    passes: int = 0
    embedded: int = 0
    found: int = 0
    embedding_seconds: float = 0.0
    measuring_seconds: float = 0.0


def key_of(setting: Perturbation | None, share: float = 1.0) -> str:
    """The name under which a setting's outcome is kept."""
    name = PLAIN if setting is None else fingerprint(setting.as_dict())
    return name if share == 1 else f"{name}-{share:g}"


class TrialServer:
    """An async actor. It keeps every outcome on disk, so that no setting is embedded twice, whichever process dies.

    Args:
        data: what trials are measured on.
        embedders: handles of the `TokenEmbedder` actors.
        outcomes: folder for the ranks of every setting.
        patience: seconds without any answer after which the embedders are pinged.
    """

    def __init__(self, data: TrialData, embedders: Sequence[Any], outcomes: str, patience: float) -> None:
        self.embedders, self.patience = list(embedders), patience
        self.outcomes, self.server_stats = Outcomes(Path(outcomes)), ServerStats()
        self.features = data.store.open(PLAIN)
        self.shared = ray.put(data)
        self.waiting: dict[tuple[str, float], tuple[Perturbation | None, asyncio.Future[dict[str, float]]]] = {}
        self.working: asyncio.Task[None] | None = None
        self.batches = token_batches(self.features, data.shuffles)

    async def stats(self) -> ServerStats:
        """What has been done so far."""
        return self.server_stats

    async def ask(self, setting: Perturbation | None, share: float = 1.0) -> dict[str, float]:
        """The metrics (see `metrics_of`) of one setting, None for plain, on a share of the photos."""
        key = key_of(setting, share)
        ranks = self.outcomes.find(key)
        if ranks is not None:
            self.server_stats.found += 1
            return metrics_of(ranks)
        if (key, share) not in self.waiting:
            self.waiting[key, share] = setting, asyncio.get_running_loop().create_future()
        _, future = self.waiting[key, share]
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._work())
        return await asyncio.shield(future)

    async def prepare(self, settings: Sequence[Perturbation | None]) -> None:
        """Embeds settings together before their trials ask for them; failures are raised to those trials only."""
        await asyncio.gather(*(self.ask(setting) for setting in settings), return_exceptions=True)

    async def _work(self) -> None:
        await asyncio.sleep(_LINGER)
        while self.waiting:
            share = next(iter(self.waiting))[1]
            keys = [key for key in self.waiting if key[1] == share][: self._settings_per_pass()]
            await self._answer_all({key: self.waiting[key] for key in keys})
            for key in keys:
                del self.waiting[key]

    async def _answer_all(self, requests: Requests) -> None:
        """Answers requests together or, if that fails, one by one: a bad setting does not fail the others."""
        try:
            await self._answer(requests)
        except Exception as error:
            left = {key: request for key, request in requests.items() if not request[1].done()}
            if len(requests) > 1:
                for key, request in left.items():
                    await self._answer_all({key: request})
                return
            for _, future in left.values():
                future.set_exception(error)
                future.exception()  # marks it as retrieved: the trial may have stopped waiting

    def _settings_per_pass(self) -> int:
        features = self.features
        return max(1, _PASS_BYTES // max(1, len(features) * features.vectors * features.dim * 2))

    async def _answer(self, requests: Requests) -> None:
        loop, ((_, share), *_) = asyncio.get_running_loop(), requests
        batches, stats = share_of(self.batches, share), self.server_stats
        started = loop.time()
        vectors = await self._embed(batches, [setting for setting, _ in requests.values()])
        stats.passes += 1
        stats.embedded += len(requests)
        stats.embedding_seconds += loop.time() - started
        started = loop.time()
        rows = np.array(sorted(row for batch in batches for row in batch.rows), np.int64)
        task = ray.remote(num_cpus=1)(rank_setting)
        references = [task.remote(self.shared, rows, ray.put(of_setting)) for of_setting in vectors]
        for (key, _), (_, future), reference in zip(requests, requests.values(), references, strict=True):
            ranks: Ranks = await reference
            self.outcomes.keep(key, ranks)
            future.set_result(metrics_of(ranks))
        stats.measuring_seconds += loop.time() - started

    async def _embed(self, batches: Sequence[TokenBatch], settings: Sequence[Perturbation | None]) -> npt.NDArray[Any]:
        """Vectors [S, n, V * D] of the photos in `batches`, in the order of their rows."""
        parts = [part for part in deal(batches, len(self.embedders)) if part]
        vectors = np.concatenate(await self._embed_parts(parts, settings), axis=1)
        rows = [row for part in parts for batch in part for row in batch.rows]
        return vectors[:, np.argsort(rows)]

    async def _embed_parts(
        self, parts: Sequence[Sequence[TokenBatch]], settings: Sequence[Perturbation | None]
    ) -> list[npt.NDArray[Any]]:
        """The vectors of each part, from one embedder each; the others take over the part of one that is lost."""
        dealt_to = dict(enumerate(self.embedders[: len(parts)]))
        pending: dict[asyncio.Future[Any], int] = {}
        answers: dict[int, npt.NDArray[Any]] = {}
        while len(answers) < len(parts):
            busy = set(pending.values())
            for number, embedder in dealt_to.items():
                if number not in answers and number not in busy:
                    pending[asyncio.ensure_future(embedder.embed.remote(parts[number], settings))] = number
            done, _ = await asyncio.wait(pending, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                answers[pending.pop(task)] = task.result()
            if not done:
                await self._drop_lost_embedders()
                for task, number in list(pending.items()):
                    if dealt_to[number] not in self.embedders:
                        del pending[task]
                        dealt_to[number] = self.embedders[number % len(self.embedders)]
        return [answers[number] for number in range(len(parts))]

    async def _drop_lost_embedders(self) -> None:
        pings = [asyncio.ensure_future(embedder.alive.remote()) for embedder in self.embedders]
        await asyncio.wait(pings, timeout=_PING)
        alive = [
            embedder
            for embedder, ping in zip(self.embedders, pings, strict=True)
            if ping.done() and not ping.exception()
        ]
        if not alive:
            raise QpertError("no actor answers any more: is the cluster complete? Run the same command again to go on")
        self.embedders = alive


def rank_setting(data: TrialData, rows: npt.NDArray[np.int64], vectors: npt.NDArray[Any]) -> Ranks:
    """The ranks of one setting, as `qpert evaluate` finds them; run as a Ray task.

    Args:
        data: what trials are measured on.
        rows: the photos, as places in the feature set, ascending.
        vectors: their vectors [n, V * D].
    """
    features = with_vectors(data.store.open(PLAIN), rows, vectors)
    return evaluate(features, data.captions, data.texts, areas=data.areas).ranks


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


def share_of(batches: Sequence[TokenBatch], share: float) -> list[TokenBatch]:
    """The first batches that together hold a share of the photos."""
    wanted, chosen = share * sum(len(batch.rows) for batch in batches), list[TokenBatch]()
    count = 0
    for batch in batches:
        if count >= wanted:
            break
        chosen.append(batch)
        count += len(batch.rows)
    return chosen


def deal(batches: Sequence[TokenBatch], hands: int) -> list[list[TokenBatch]]:
    """Deals batches to a number of actors, whole files to each, with about the same number of photos."""
    parts: list[list[TokenBatch]] = [[] for _ in range(hands)]
    counts = [0] * hands
    file, hand = "", 0
    for batch in batches:
        if batch.file != file:
            file, hand = batch.file, counts.index(min(counts))
        parts[hand].append(batch)
        counts[hand] += len(batch.rows)
    return parts

"""The trial server without Ray: batching of requests, lost actors, bad settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from pipeline.errors import QpertError
from pipeline.experiments.outcomes import Outcomes
from pipeline.features.store import FeatureStore
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.retrieval.ranks import Ranks, size_bins
from pipeline.tuning import token_embedder
from pipeline.tuning.actors import as_actor
from pipeline.tuning.token_embedder import TokenBatch, TokenEmbedder
from pipeline.tuning.trial_server import ServerStats, TrialServer, deal, key_of, share_of
from pipeline.workers.worker import Worker

BAD = Perturbation(scale=9)
EMPTY = Objects.empty((4, 4))
BATCHES = [TokenBatch(file, call, tuple(range(start, start + 4)), (EMPTY,) * 4) for file, call, start in
        (("a", 0, 0), ("a", 1, 4), ("b", 0, 8), ("c", 0, 12))]  # fmt: skip


class FakeServer(TrialServer):
    """Answers without embedding anything; `passes` records the requests of each pass."""

    def __init__(self, folder: Path) -> None:
        self.outcomes, self.server_stats = Outcomes(folder), ServerStats()
        self.waiting, self.working, self.batches, self.patience = {}, None, BATCHES, 60.0
        self.passes: list[tuple[int, float]] = []

    def _settings_per_pass(self) -> int:
        return 3

    async def _answer(self, requests: Any) -> None:
        self.passes.append((len(requests), next(iter(requests))[1]))
        if any(setting == BAD for setting, _ in requests.values()):
            raise QpertError("no such setting")
        ranks = Ranks(np.ones(2, int), np.ones(1, int), np.zeros(2, int), size_bins([0.5], 1), ("a",))
        for (key, _), (_, future) in requests.items():
            self.outcomes.keep(key, ranks)
            future.set_result({"R@1": 1.0})


class FakeEmbedder:
    """The handle of an embedder whose vectors are the numbers of the setting and of the photo."""

    def __init__(self, slow: bool = False, alive: bool = True) -> None:
        self.embed, self.alive = SimpleNamespace(remote=self._embed), SimpleNamespace(remote=self._alive)
        self.slow, self.lives, self.parts, self.pinged = slow, alive, list[list[int]](), asyncio.Event()

    async def _alive(self) -> None:
        self.pinged.set()
        if not self.lives:
            raise RuntimeError("the actor is unavailable")

    async def _embed(self, batches: Sequence[TokenBatch], settings: Sequence[Any]) -> np.ndarray:
        self.parts.append([row for batch in batches for row in batch.rows])
        if not self.lives:
            await asyncio.Event().wait()
        if self.slow:  # until it is pinged
            await self.pinged.wait()
        rows = [row for batch in batches for row in batch.rows]
        return np.array([[[number, row] for row in rows] for number, _ in enumerate(settings)], np.float16)


@pytest.mark.parametrize("hands", [1, 2, 3, 5])
def test_vectors_are_returned_in_the_order_of_the_rows(tmp_path: Path, hands: int) -> None:
    """However the files are dealt, and whichever photos they hold."""
    rows = [("a", 0, (5, 1, 9)), ("b", 0, (8, 0)), ("b", 1, (2,)), ("c", 0, (7, 6, 4, 3))]
    batches = [TokenBatch(file, call, photos, (EMPTY,) * len(photos)) for file, call, photos in rows]
    server = FakeServer(tmp_path)
    server.embedders = [FakeEmbedder() for _ in range(hands)]
    vectors = asyncio.run(server._embed(batches, [None, *settings(2)]))
    assert vectors.shape == (3, 10, 2)
    assert vectors[..., 1].tolist() == [[*range(10)]] * 3
    assert vectors[..., 0].tolist() == [[number] * 10 for number in range(3)]


def test_the_part_of_a_lost_embedder_is_done_by_the_others(tmp_path: Path) -> None:
    server = FakeServer(tmp_path)
    slow, lost, other = FakeEmbedder(slow=True), FakeEmbedder(alive=False), FakeEmbedder()
    server.embedders, server.patience = [slow, lost, other], 0.02
    vectors = asyncio.run(server._embed(BATCHES, [None]))
    assert vectors[0, :, 1].tolist() == [*range(16)]
    assert server.embedders == [slow, other]  # a slow one is waited for, and its part is not repeated
    assert len(slow.parts) + len(other.parts) == 3
    assert lost.parts[0] in (*slow.parts, *other.parts)
    server.embedders = [FakeEmbedder(alive=False)]
    with pytest.raises(QpertError, match="no actor answers any more"):
        asyncio.run(server._embed(BATCHES, [None]))


def settings(count: int) -> list[Perturbation]:
    return [Perturbation(scale=scale) for scale in range(1, count + 1)]


def test_concurrent_requests_are_batched(tmp_path: Path) -> None:
    server = FakeServer(tmp_path)

    async def ask() -> list[Any]:
        twice = [*settings(4), *settings(4)]
        return await asyncio.gather(*(server.ask(setting) for setting in twice), server.ask(settings(1)[0], 0.5))

    assert len(asyncio.run(ask())) == 9
    assert server.passes == [(3, 1.0), (1, 1.0), (1, 0.5)]
    again = FakeServer(tmp_path)
    assert asyncio.run(again.ask(settings(1)[0]))["R@1"] == 1
    assert again.passes == []
    assert again.server_stats.found == 1


def test_a_bad_setting_does_not_fail_the_others(tmp_path: Path) -> None:
    server = FakeServer(tmp_path)

    async def ask() -> list[Any]:
        await server.prepare([BAD])
        asked = [settings(1)[0], BAD, settings(2)[1]]
        return await asyncio.gather(*(server.ask(setting) for setting in asked), return_exceptions=True)

    first, bad, last = asyncio.run(ask())
    assert first == last == {"R@1": 1.0}
    assert isinstance(bad, QpertError)


def test_a_single_photo_allows_a_setting_per_pass(tmp_path: Path, write_features: Any) -> None:
    server = FakeServer(tmp_path)
    server.features = write_features(np.ones((1, 1, 3)))
    assert TrialServer._settings_per_pass(server) > 0


def test_shares_are_whole_calls_and_actors_get_whole_files() -> None:
    assert [batch.rows[0] for batch in share_of(BATCHES, 0.5)] == [0, 4]
    assert share_of(BATCHES, 0.3) == share_of(BATCHES, 0.5)
    assert share_of(BATCHES, 1.0) == BATCHES
    hands = deal(BATCHES, 2)
    assert [[batch.file for batch in hand] for hand in hands] == [["a", "a"], ["b", "c"]]
    assert deal(BATCHES[:1], 3) == [BATCHES[:1], [], []]


def test_keys_name_a_setting_and_a_share() -> None:
    assert key_of(None) == "plain"
    assert key_of(Perturbation(scale=2)) == key_of(Perturbation(scale=2.0)) != key_of(Perturbation(scale=3))
    assert key_of(None, 0.25) == "plain-0.25"


def test_settings_that_exceed_memory_together_are_embedded_one_by_one(
    tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = FeatureStore(str(tmp_path)).tokens
    name = tokens.write(["x"], [torch.rand(4, 5, 3)])
    batches = [TokenBatch(name, 0, (0, 1, 2, 3), (EMPTY,) * 4)]
    embedder = TokenEmbedder(tiny_encoder, tokens, "float16", Worker(threads=1))
    together = embedder.embed(batches, [None, *settings(2)])
    freed: list[int] = []

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(embedder.encoder, "embed_each", full)
    monkeypatch.setattr(token_embedder, "free_memory", lambda: freed.append(1))
    assert np.array_equal(embedder.embed(batches, [None, *settings(2)]), together)
    assert freed == [1]
    with pytest.raises(torch.OutOfMemoryError):
        embedder.embed(batches, [None])


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.timeout(300)
def test_an_embedder_answers_pings_while_it_embeds_one_part_after_the_other(tmp_path: Path, tiny_encoder: Any) -> None:
    tokens = FeatureStore(str(tmp_path)).tokens
    name = tokens.write(["x"], [torch.rand(4, 5, 3)])
    batches = [TokenBatch(name, 0, (0, 1, 2, 3), (EMPTY,) * 4)]
    log, go = tmp_path / "log", tmp_path / "go"

    def build(**options: str) -> Any:
        encoder = tiny_encoder(**options)
        embed = encoder.embed_each

        def embed_when_allowed(*arguments: Any) -> Any:
            with log.open("a") as file:
                file.write("begins ")
            while not go.exists():
                time.sleep(0.01)
            vectors = embed(*arguments)
            with log.open("a") as file:
                file.write("ends ")
            return vectors

        encoder.embed_each = embed_when_allowed
        return encoder

    embedder = as_actor(TokenEmbedder).options(num_cpus=0).remote(build, tokens, "float16", Worker(threads=1))
    asked = [embedder.embed.remote(batches, [None]) for _ in range(2)]
    while not log.exists():
        time.sleep(0.01)
    ray.get(embedder.alive.remote(), timeout=120)
    go.touch()
    one, other = ray.get(asked)
    assert np.array_equal(one, other)
    assert log.read_text() == "begins ends begins ends "
    ray.kill(embedder)

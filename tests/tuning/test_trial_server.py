"""The desk without Ray: who is answered together, and whom a bad setting hurts."""

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
from pipeline.tuning import token_embedder as sweep
from pipeline.tuning.actors import as_actor
from pipeline.tuning.token_embedder import Kept, Sweeper
from pipeline.tuning.trial_server import Counters, Desk, dealt, key_of, share_of
from pipeline.workers.worker import Worker

BAD = Perturbation(scale=9)
EMPTY = Objects.empty((4, 4))
KEPT = [Kept(file, call, tuple(range(start, start + 4)), (EMPTY,) * 4) for file, call, start in
        (("a", 0, 0), ("a", 1, 4), ("b", 0, 8), ("c", 0, 12))]  # fmt: skip


class Rehearsal(Desk):
    """Embeds and measures by itself; `passes` says what was asked together."""

    def __init__(self, folder: Path) -> None:
        self.outcomes, self.counters = Outcomes(folder), Counters()
        self.waiting, self.working, self.kept, self.patience = {}, None, KEPT, 60.0
        self.passes: list[tuple[int, float]] = []

    def _at_once(self) -> int:
        return 3

    async def _answer(self, batch: Any) -> None:
        self.passes.append((len(batch), next(iter(batch))[1]))
        if any(setting == BAD for setting, _ in batch.values()):
            raise QpertError("no such setting")
        ranks = Ranks(np.ones(2, int), np.ones(1, int), np.zeros(2, int), size_bins([0.5], 1), ("a",))
        for (key, _), (_, future) in batch.items():
            self.outcomes.keep(key, ranks)
            future.set_result({"R@1": 1.0})


class OutOfOrder:
    """A sweeper whose vectors are the numbers of the photos and of the setting, as its handle looks to the desk."""

    def __init__(self, slow: bool = False, lives: bool = True) -> None:
        self.embed, self.alive = SimpleNamespace(remote=self._embed), SimpleNamespace(remote=self._alive)
        self.slow, self.lives, self.parts, self.asked = slow, lives, list[list[int]](), asyncio.Event()

    async def _alive(self) -> None:
        self.asked.set()
        if not self.lives:
            raise RuntimeError("the actor is unavailable")

    async def _embed(self, photos: Sequence[Kept], settings: Sequence[Any]) -> np.ndarray:
        self.parts.append([row for each in photos for row in each.rows])
        if not self.lives:
            await asyncio.Event().wait()
        if self.slow:  # so that it is asked whether it lives
            await self.asked.wait()
        rows = [row for each in photos for row in each.rows]
        return np.array([[[number, row] for row in rows] for number, _ in enumerate(settings)], np.float16)


@pytest.mark.parametrize("hands", [1, 2, 3, 5])
def test_vectors_come_back_in_the_order_of_the_rows(tmp_path: Path, hands: int) -> None:
    """However the files are dealt, and whatever photos lie in which of them."""
    rows = [("a", 0, (5, 1, 9)), ("b", 0, (8, 0)), ("b", 1, (2,)), ("c", 0, (7, 6, 4, 3))]
    kept = [Kept(file, call, photos, (EMPTY,) * len(photos)) for file, call, photos in rows]
    desk = Rehearsal(tmp_path)
    desk.sweepers = [OutOfOrder() for _ in range(hands)]
    found = asyncio.run(desk._embed(kept, [None, *settings(2)]))
    assert found.shape == (3, 10, 2)
    assert found[..., 1].tolist() == [[*range(10)]] * 3
    assert found[..., 0].tolist() == [[number] * 10 for number in range(3)]


def test_the_part_of_a_sweeper_that_is_lost_is_done_by_the_others(tmp_path: Path) -> None:
    desk = Rehearsal(tmp_path)
    slow, lost, other = OutOfOrder(slow=True), OutOfOrder(lives=False), OutOfOrder()
    desk.sweepers, desk.patience = [slow, lost, other], 0.02
    found = asyncio.run(desk._embed(KEPT, [None]))
    assert found[0, :, 1].tolist() == [*range(16)]
    assert desk.sweepers == [slow, other]  # who is slow is waited for, and nothing of his is done twice
    assert len(slow.parts) + len(other.parts) == 3
    assert lost.parts[0] in (*slow.parts, *other.parts)
    desk.sweepers = [OutOfOrder(lives=False)]
    with pytest.raises(QpertError, match="no actor answers any more"):
        asyncio.run(desk._embed(KEPT, [None]))


def settings(count: int) -> list[Perturbation]:
    return [Perturbation(scale=scale) for scale in range(1, count + 1)]


def test_those_who_wait_together_are_answered_together(tmp_path: Path) -> None:
    desk = Rehearsal(tmp_path)

    async def ask() -> list[Any]:
        twice = [*settings(4), *settings(4)]
        return await asyncio.gather(*(desk.ask(each) for each in twice), desk.ask(settings(1)[0], 0.5))

    assert len(asyncio.run(ask())) == 9
    assert desk.passes == [(3, 1.0), (1, 1.0), (1, 0.5)]
    again = Rehearsal(tmp_path)
    assert asyncio.run(again.ask(settings(1)[0]))["R@1"] == 1
    assert again.passes == []
    assert again.counters.found == 1


def test_a_bad_setting_hurts_nobody_else(tmp_path: Path) -> None:
    desk = Rehearsal(tmp_path)

    async def ask() -> list[Any]:
        await desk.expect([BAD])
        asked = [settings(1)[0], BAD, settings(2)[1]]
        return await asyncio.gather(*(desk.ask(each) for each in asked), return_exceptions=True)

    first, bad, last = asyncio.run(ask())
    assert first == last == {"R@1": 1.0}
    assert isinstance(bad, QpertError)


def test_no_photo_is_no_hang(tmp_path: Path, write_features: Any) -> None:
    desk = Rehearsal(tmp_path)
    desk.features = write_features(np.ones((1, 1, 3)))
    assert Desk._at_once(desk) > 0


def test_shares_are_whole_calls_and_hands_get_whole_files() -> None:
    assert [each.rows[0] for each in share_of(KEPT, 0.5)] == [0, 4]
    assert share_of(KEPT, 0.3) == share_of(KEPT, 0.5)
    assert share_of(KEPT, 1.0) == KEPT
    hands = dealt(KEPT, 2)
    assert [[each.file for each in hand] for hand in hands] == [["a", "a"], ["b", "c"]]
    assert dealt(KEPT[:1], 3) == [KEPT[:1], [], []]


def test_keys() -> None:
    assert key_of(None) == "plain"
    assert key_of(Perturbation(scale=2)) == key_of(Perturbation(scale=2.0)) != key_of(Perturbation(scale=3))
    assert key_of(None, 0.25) == "plain-0.25"


def test_settings_that_do_not_fit_together_are_embedded_one_by_one(
    tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = FeatureStore(str(tmp_path)).tokens
    name = tokens.write(["x"], [torch.rand(4, 5, 3)])
    kept = [Kept(name, 0, (0, 1, 2, 3), (EMPTY,) * 4)]
    sweeper = Sweeper(tiny_encoder, tokens, "float16", Worker(threads=1))
    together = sweeper.embed(kept, [None, *settings(2)])
    freed: list[int] = []

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(sweeper.encoder, "embed_each", full)
    monkeypatch.setattr(sweep, "free_memory", lambda: freed.append(1))
    assert np.array_equal(sweeper.embed(kept, [None, *settings(2)]), together)
    assert freed == [1]
    with pytest.raises(torch.OutOfMemoryError):
        sweeper.embed(kept, [None])


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.timeout(300)
def test_a_sweeper_answers_while_it_embeds_one_part_after_the_other(tmp_path: Path, tiny_encoder: Any) -> None:
    tokens = FeatureStore(str(tmp_path)).tokens
    name = tokens.write(["x"], [torch.rand(4, 5, 3)])
    kept = [Kept(name, 0, (0, 1, 2, 3), (EMPTY,) * 4)]
    log, go = tmp_path / "log", tmp_path / "go"

    def build(**options: str) -> Any:
        encoder = tiny_encoder(**options)
        embed = encoder.embed_each

        def waits(*of: Any) -> Any:
            with log.open("a") as file:
                file.write("begins ")
            while not go.exists():
                time.sleep(0.01)
            found = embed(*of)
            with log.open("a") as file:
                file.write("ends ")
            return found

        encoder.embed_each = waits
        return encoder

    sweeper = as_actor(Sweeper).options(num_cpus=0).remote(build, str(tmp_path), "float16", Worker(threads=1))
    asked = [sweeper.embed.remote(kept, [None]) for _ in range(2)]
    while not log.exists():
        time.sleep(0.01)
    ray.get(sweeper.alive.remote(), timeout=120)
    go.touch()
    one, other = ray.get(asked)
    assert np.array_equal(one, other)
    assert log.read_text() == "begins ends begins ends "
    ray.kill(sweeper)

"""What `chaos.py` draws, runs and compares, without any run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.cli.parsing import parse
from pipeline.experiments.outcomes import Outcomes
from pipeline.retrieval.ranks import Ranks, size_bins
from tests.end_to_end.chaos import KINDS, draw
from tests.end_to_end.chaos_verbs import VERBS, Rerank, _sets_and_outcomes, compare_features


@pytest.mark.parametrize("first", [0, 1, 14, 4242])
def test_three_seeds_in_a_row_have_a_fault_of_each_kind(first: int) -> None:
    for runs in (3, 4, 12):
        assert {draw(seed, 128).kind for seed in range(first, first + runs)} == set(KINDS)
    assert draw(first, 128) == draw(first, 128)
    assert 0 < draw(first, 128).after < 128
    assert draw(first, 1, 1).after == 1


@pytest.mark.parametrize("verb", VERBS)
def test_the_commands_are_such(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *of, **how: None)
    made = VERBS[verb](tmp_path, 8)
    name, *words = made.words(tmp_path / "out")
    assert name == verb
    module = importlib.import_module(f"jobs.{verb}")
    config = parse(module.Config, [*words, "--address", "cluster:1"], verb=verb)
    assert config is not None
    assert config.patience == 2
    assert made.done(tmp_path / "out") == 0
    assert made.roles


def test_rows_that_are_lost_doubled_or_changed_are_seen(write_features: Callable[..., Any]) -> None:
    vectors = np.arange(1, 17, dtype=np.float32).reshape(4, 1, 4) / 100

    def compared(name: str, **change: Any) -> list[str]:
        made = write_features(**({"vectors": vectors, "name": name} | change))
        return compare_features(Path(made.root), right)[0]

    right = Path(write_features(vectors, name="right").root)
    assert compared("same") == []
    ids = [f"{number:06d}.jpg" for number in range(4)]
    assert compared("lost", vectors=vectors[:3])[:1] == ["lost: 1 rows missing"]
    assert compared("twice", vectors=vectors[[0, 1, 2, 3, 3]], ids=[*ids, ids[3]])[:1] == ["twice: 1 rows too many"]
    assert "failed: 1 rows failed" in compared("failed", failed=[ids[0]])
    assert "differ, by" in compared("moved", vectors=vectors + 0.01)[0]
    near = np.nextafter(vectors.astype(np.float16), np.float16(9))
    assert "differ, by 1 units" in compared("near", vectors=near)[0]


def test_outcomes_that_are_lost_or_moved_are_seen(tmp_path: Path) -> None:
    def keep(folder: str, names: str, rank: int = 1) -> Path:
        for name in names:
            ranks = Ranks(np.full(2, rank), np.ones(1, int), np.zeros(2, int), size_bins([0.5], 1), ("a",))
            Outcomes(tmp_path / folder / "outcomes" / "f00").keep(name, ranks)
        return tmp_path / folder

    right = keep("right", "ab")
    assert _sets_and_outcomes(keep("same", "ab"), right) == ([], 0)
    assert _sets_and_outcomes(keep("lost", "a"), right)[0] == ["outcomes of ['a'], not of ['a', 'b']"]
    assert _sets_and_outcomes(keep("moved", "ab", 2), right)[0] == ["4 of 6 ranks differ"]


def test_the_order_of_the_photos_is_not_compared(tmp_path: Path) -> None:
    """Features are written file by file, as they come."""
    one = Ranks(np.array([1, 2, 3]), np.array([4, 5]), np.array([0, 0, 1]), size_bins([0.5, 0.5], 2), ("a", "b"))
    other = Ranks(np.array([3, 1, 2]), np.array([5, 4]), np.array([0, 1, 1]), size_bins([0.5, 0.5], 2), ("b", "a"))
    for folder, ranks in (("one", one), ("other", other)):
        Outcomes(tmp_path / folder / "outcomes" / "f00").keep("plain", ranks)
    assert _sets_and_outcomes(tmp_path / "one", tmp_path / "other") == ([], 0)


def test_scores_that_are_doubled_are_seen(
    tmp_path: Path, write_features: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", lambda *of, **how: None)
    import pyarrow as pa

    def scored(name: str, *rows: tuple[str, float]) -> Path:
        folder = tmp_path / name / "rerank" / "f00"
        for place in ("features", "checkpoint/f00"):
            (folder / place).mkdir(parents=True)
        for number, (image_id, score) in enumerate(rows):
            table = pa.table({"image_id": [image_id], "scores": [[score]], "error": pa.array([None], pa.string())})
            pq.write_table(table, folder / "features" / f"p{number}-000000.parquet")
            (folder / "checkpoint" / "f00" / f"p{number}.parquet").write_bytes(b"x")
        (tmp_path / f"{name}.json").write_text('{"report": {}}')
        return tmp_path / name

    verb = Rerank(tmp_path, 8)
    right = scored("right", ("a", 1.0), ("b", 2.0))
    assert verb.problems(right, right) == ([], 0)
    assert verb.problems(scored("lost", ("a", 1.0)), right)[0] == ["1 photos without scores, 0 with two rows"]
    twice = scored("twice", ("a", 1.0), ("b", 2.0), ("b", 2.0))
    assert verb.problems(twice, right)[0] == ["0 photos without scores, 1 with two rows"]
    assert "scores differ" in verb.problems(scored("moved", ("a", 1.0), ("b", 3.0)), right)[0][0]
    assert verb.done(twice) == 3

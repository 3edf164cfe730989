"""Searchers and schedulers by Ray Tune's names, refused before any work starts if unknown; resumed searches."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune

from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.tuning.objective import Objective
from pipeline.tuning.search import Search, _has_record, failure_line, run_search
from pipeline.tuning.space import FINER, Range, Space
from tests.payloads import Touch


@pytest.mark.parametrize(
    "search",
    [
        Search(),
        Search(searcher="random", seed=3),
        Search(searcher="optuna", trials=5),
        Search(scheduler="asha", shares=(0.25, 1.0)),
        Search(scheduler="median_stopping_rule", shares=(0.5, 1.0)),
    ],
)
def test_known_searchers_and_schedulers(search: Search) -> None:
    search.check()
    config = search.config()
    assert config.metric == "R@1"
    assert config.mode == "max"
    assert config.num_samples == (1 if search.searcher == "grid" else search.trials)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (Search(searcher="guess"), "unknown --search 'guess'; Ray Tune has: grid, .*optuna"),
        (Search(searcher="hyperopt"), "--search hyperopt needs a package"),
        (Search(scheduler="best"), "unknown --scheduler 'best'; Ray Tune has: asha, fifo"),
        (Search(shares=(0.5, 0.2, 1.0)), "shares of the photos grow up to 1"),
        (Search(shares=(0.5,)), "shares of the photos grow up to 1"),
        (Search(shares=(0.0, 1.0)), "shares of the photos grow up to 1"),
    ],
)
def test_unknown_searchers_and_schedulers_are_refused(search: Search, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        search.check()


def test_the_space_that_tune_draws_from() -> None:
    space = Space(Perturbation(), {"weight": ["area", "constant"], "scale": Range(0.1, 10, log=True)})
    drawn = Search(searcher="random").param_space(space)["setting"]
    assert isinstance(drawn["weight"], tune.search.sample.Categorical)
    assert isinstance(drawn["scale"], tune.search.sample.Float)
    assert Search().param_space(Space(Perturbation(), {}, FINER)) == {
        "setting": {"grid_search": Space(Perturbation(), {}, FINER).grid()}
    }


class FailsOnce:
    """A trial server that fails for a scale of 2 until it is mended."""

    def __init__(self) -> None:
        self.mended, self.asked = False, list[float]()

    def mend(self) -> None:
        self.mended = True

    def ask(self, setting: Perturbation, share: float) -> dict[str, float]:
        self.asked.append(setting.scale)
        if setting.scale == 2 and not self.mended:
            raise QpertError("no room for it")
        return {"R@1": setting.scale / 10}

    def scales(self) -> list[float]:
        return self.asked


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.timeout(300)
def test_a_trial_that_failed_for_good_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    space = Space(Perturbation(), {"scale": [1.0, 2.0]})
    search = Search(concurrent=1)
    server: Any = ray.remote(FailsOnce).options(num_cpus=0).remote()
    chosen, failed = run_search(search, space, server, tmp_path / "tune")
    assert chosen == [{"scale": 1.0}]
    assert len(failed) == 1
    assert "no room for it" in failed[0]
    asked = ray.get(server.scales.remote())
    assert 1 < asked.count(2) <= 10
    ray.get(server.mend.remote())
    chosen, failed = run_search(search, space, server, tmp_path / "tune")
    assert sorted(values["scale"] for values in chosen) == [1.0, 2.0]
    assert failed == []
    assert ray.get(server.scales.remote()) == [*asked, 2]  # finished trials do not ask again
    ray.kill(server)


def test_a_trial_that_never_reported_is_named_too() -> None:
    """Tune knows the configuration of a trial by its reports alone: one whose actor was killed before has none."""
    killed = SimpleNamespace(config=None, error=RuntimeError("The actor died.\nIt was killed."))
    assert failure_line(killed) == "a setting that was not measured at all: It was killed."
    measured = SimpleNamespace(config={"setting": {"scale": 2.0}}, error=RuntimeError("no memory"))
    assert failure_line(measured) == "{'scale': 2.0}: no memory"


def test_a_record_without_a_snapshot_is_deleted(tmp_path: Path) -> None:
    """Ray Tune would restore it, and run a trial without any setting."""
    folder = tmp_path / "tune"
    assert not _has_record(folder)
    folder.mkdir()
    (folder / "tuner.pkl").write_bytes(b"")
    assert not _has_record(folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "tuner.pkl").write_bytes(b"")
    (folder / "experiment_state-2026.json").write_text("{}")
    assert _has_record(folder)


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.timeout(300)
def test_a_record_from_elsewhere_is_never_opened(tmp_path: Path) -> None:
    folder, ran = tmp_path / "tune", tmp_path / "ran"
    folder.mkdir()
    for name in ("tuner.pkl", "trainable.pkl", "searcher-state-2026.pkl"):
        (folder / name).write_bytes(pickle.dumps(Touch(str(ran))))
    (folder / "experiment_state-2026.json").write_text("{}")
    server: Any = ray.remote(FailsOnce).options(num_cpus=0).remote()
    with pytest.warns(UserWarning, match="was not begun by you on this machine"):
        chosen, failed = run_search(Search(), Space(Perturbation(), {"scale": [1.0]}), server, folder)
    assert (chosen, failed) == ([{"scale": 1.0}], [])
    assert not ran.exists()
    ray.kill(server)


def test_a_search_for_a_metric_is_known_by_the_fields_it_always_had() -> None:
    """So that Tune's record of an earlier search is found again; own minus shuffled adds its own."""
    search = Search(objective=Objective("10%"), trials=7, concurrent=3)
    assert search.identity() == {
        "metric": "10%",
        "searcher": "grid",
        "searcher_options": {},
        "trials": 7,
        "scheduler": "fifo",
        "scheduler_options": {},
        "shares": (1.0,),
        "seed": 0,
    }
    controlled = [
        Search(objective=Objective("10%", draws, loss)).identity() for draws, loss in ((1, 0.0), (2, 0.0), (1, 0.1))
    ]
    assert controlled[0] != controlled[1] != controlled[2] != controlled[0]

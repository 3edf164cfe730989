"""What a search maximises, and which settings cannot win it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.tuning.objective import Objective

PLAIN = {"R@1": 0.6, "10%": 0.3}


@pytest.mark.parametrize(
    ("text", "name", "metric", "draws"),
    [
        ("R@1", "R@1", "R@1", 0),
        ("i2t mR@5", "i2t mR@5", "i2t mR@5", 0),
        ("own-minus-shuffled", "own-minus-shuffled R@1", "R@1", 3),
        ("own-minus-shuffled 10%", "own-minus-shuffled 10%", "10%", 3),
        (" own-minus-shuffled  i2t R@1 ", "own-minus-shuffled i2t R@1", "i2t R@1", 3),
    ],
)
def test_the_option_names_a_metric_or_own_minus_shuffled(text: str, name: str, metric: str, draws: int) -> None:
    objective = Objective.parse(text, 3, 0.01)
    assert (objective.name, objective.metric, objective.draws) == (name, metric, draws)


@pytest.mark.parametrize("text", ["recall", "own-minus-shuffled recall", "own-minus-elsewhere", "R@1 10%"])
def test_unknown_metrics_are_refused(text: str) -> None:
    with pytest.raises(QpertError, match=r"unknown --metric .* or own-minus-shuffled and one of these"):
        Objective.parse(text, 3, 0)


def test_controls_have_shuffled_boxes_and_a_seed_each() -> None:
    setting = Perturbation(scale=2, seed=5)
    controls = Objective.parse("own-minus-shuffled", 2, 0).controls(setting)
    assert controls == [Perturbation(scale=2, seed=seed, boxes="shuffled") for seed in (5, 6)]
    assert Objective("R@1").controls(setting) == []


def test_the_score_is_own_minus_the_mean_of_the_draws() -> None:
    objective = Objective.parse("own-minus-shuffled 10%", 2, 0)
    score = objective.score({"R@1": 0.7, "10%": 0.5}, [{"10%": 0.3}, {"10%": 0.4}], PLAIN)
    assert score == {"own-minus-shuffled 10%": pytest.approx(0.15)}
    assert Objective("R@1").score(PLAIN, [], PLAIN) == {}


@pytest.mark.parametrize(
    ("own", "may_lose", "loss"), [(0.6, 0, 0), (0.55, 0, 0.05), (0.55, 0.05, 0), (0.5, 0.04, 0.06)]
)
def test_a_loss_against_plain_is_taken_off(own: float, may_lose: float, loss: float) -> None:
    """So that a searcher is led away from settings that wreck photos with other boxes, and the best is none of them."""
    objective = Objective.parse("own-minus-shuffled 10%", 1, may_lose)
    metrics: Any = {"R@1": own, "10%": 0.5}
    assert objective.loss(metrics, PLAIN) == pytest.approx(loss, abs=1e-6)
    assert (objective.loss(metrics, PLAIN) > 0) == (loss > 0)
    score = objective.score(metrics, [{"10%": 0.1}], PLAIN)
    assert score[objective.name] == pytest.approx(0.4 - loss)
    assert Objective("R@1").loss({"R@1": 0.0}, PLAIN) == 0

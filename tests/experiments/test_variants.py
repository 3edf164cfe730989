from __future__ import annotations

import dataclasses

from pipeline.experiments import paper
from pipeline.experiments.variants import CHOSEN, ORTHOGONAL, PLAIN, grid, grid_name, grid_points, switches, table_a
from pipeline.method.settings import Perturbation


def test_the_two_tables_share_one_column() -> None:
    settings = grid(paper.SCALES)
    assert len(settings) == 25 + 25 - 5
    assert settings[grid_name("1-area", 10, 0.85)] == Perturbation.paper(10, 0.85, "1-area")
    assert {grid_name(*point) for letter in "CD" for point in grid_points(letter, paper.SCALES)} == set(settings)
    assert set(grid_points("C", paper.SCALES)) & set(grid_points("D", paper.SCALES)) == {
        (weight, 10.0, 0.99) for weight in paper.WEIGHTS
    }


def test_the_control_differs_only_in_its_operator() -> None:
    chosen = Perturbation.paper(4.0, 0.8, "area")
    settings = table_a(chosen)
    assert settings[PLAIN] is None
    assert settings[CHOSEN] == chosen
    assert settings[ORTHOGONAL] == dataclasses.replace(chosen, operator="orthogonal")


def test_each_setting_turns_one_switch_and_the_last_one_all() -> None:
    settings = switches(Perturbation.paper(6.0, 0.9, "1-area"))
    assert list(settings) == [
        "operator = eigenvector-rows",
        "combine = mean",
        "tokens = coverage",
        "weight = -area",
        "threshold = 0.99",
        "min_components = 1",
        "all of them (released)",
    ]
    assert settings["combine = mean"] == Perturbation(
        combine="mean", scale=6.0, threshold=0.9, weight="1-area", min_components=0
    )
    everything = settings["all of them (released)"]
    assert everything is not None
    assert (everything.operator, everything.weight, everything.scale, everything.stages) == (
        "eigenvector-rows",
        "-area",
        6.0,
        ("itc",),
    )
    assert "weight = constant" not in switches(Perturbation.paper())

"""The settings of a search, from values, ranges and tables."""

from __future__ import annotations

import pytest

from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.tuning.space import FINER, PAPER, Range, Space, Tables, short

BASE = Perturbation(scale=3, stages=("itc",))


def test_a_grid_has_every_distinct_combination() -> None:
    space = Space(BASE, {"weight": ["area", "constant", "area"], "scale": [1, 2]})
    assert space.grid() == [
        {"weight": "area", "scale": 1},
        {"weight": "area", "scale": 2},
        {"weight": "constant", "scale": 1},
        {"weight": "constant", "scale": 2},
    ]
    assert Space(BASE, {}).grid() == [{}]
    assert space.setting({"weight": "area", "scale": 1}) == Perturbation(weight="area", scale=1)


def test_sites_are_text() -> None:
    space = Space(BASE, {"sites": ["all", "0,-1", "qllama.*"]})
    assert [space.setting(values).sites for values in space.grid()] == [None, (0, -1), ("qllama.*",)]


@pytest.mark.parametrize(("text", "expected"), [("0.1:10", Range(0.1, 10)), ("0.1:10:log", Range(0.1, 10, log=True))])
def test_ranges(text: str, expected: Range) -> None:
    assert Range.parse(text) == expected


@pytest.mark.parametrize("text", ["1", "a:b", "2:1", "0:1:log", "1:2:linear", "1:1"])
def test_bad_ranges_are_refused(text: str) -> None:
    with pytest.raises(QpertError, match="is not a range: write LOW:HIGH"):
        Range.parse(text)


def test_a_range_has_no_grid() -> None:
    with pytest.raises(QpertError, match="--scale is a range"):
        Space(BASE, {"weight": ["area"], "scale": Range(1, 2)}).grid()


@pytest.mark.parametrize(
    "fields",
    [{"weight": ["area", "square"]}, {"threshold": Range(0.5, 1.5)}, {"threshold": [0.0]}, {"combine": ["max"]}],
)
def test_wrong_values_are_refused_before_any_work(fields: dict[str, list[str] | Range]) -> None:
    with pytest.raises(QpertError):
        Space(BASE, fields).check()
    Space(BASE, {"weight": ["area", "-area"], "threshold": Range(0.5, 0.99), "sites": ["all", "0"]}).check()


def test_the_cells_of_tables_c_and_d() -> None:
    cells = Space(BASE, {}, PAPER).grid()
    assert len(cells) == 45  # fifty, five of which are in both tables
    assert {cell["threshold"] for cell in cells if cell["scale"] == 2} == {0.99}
    assert {cell["threshold"] for cell in cells if cell["scale"] == 10} == {0.8, 0.85, 0.9, 0.95, 0.99}
    assert {cell["scale"] for cell in Space(BASE, {}, FINER).grid()} == {0.25, 0.5, 1, 2, 4}
    assert Space(BASE, {}, PAPER).names == ["weight", "scale", "threshold"]
    with pytest.raises(QpertError, match="threshold"):
        Space(BASE, {}, Tables((1.0,), (2.0,), 0.9, 1.0)).check()


def test_readable_names() -> None:
    assert short(Perturbation(scale=2.5), ["weight", "scale"]) == "weight constant, scale 2.5"
    assert short(Perturbation(), ["sites"]) == "sites all"
    assert short(Perturbation(), ["artefacts"]) == "artefacts keep"
    assert short(Perturbation(sites=(0, "pool")), ["sites"]) == "sites 0,pool"

"""The printed figures, checked against what the supplement says about them."""

from __future__ import annotations

from pipeline.experiments import paper


def test_the_grids_are_full() -> None:
    for table, columns in (
        (paper.TABLE_C_SMALL, paper.SCALES),
        (paper.TABLE_C_ALL, paper.SCALES),
        (paper.TABLE_D_SMALL, paper.THRESHOLDS),
        (paper.TABLE_D_ALL, paper.THRESHOLDS),
    ):
        assert tuple(table) == paper.WEIGHTS
        assert {len(row) for row in table.values()} == {len(columns)}


def test_small_recalls_are_whole_captions_of_75() -> None:
    rows = [*paper.TABLE_C_SMALL.values(), *paper.TABLE_D_SMALL.values()]
    values = [value for row in rows for value in row] + [row["10%"] for row in paper.TABLE_A.values()]
    assert all(abs(value * 0.75 - round(value * 0.75)) < 0.01 for value in values)


def test_tables_c_and_d_share_the_setting_of_scale_10_and_threshold_099() -> None:
    at = paper.SCALES.index(paper.TABLE_D_SCALE), paper.THRESHOLDS.index(paper.TABLE_C_THRESHOLD)
    assert all(paper.TABLE_C_ALL[weight][at[0]] == paper.TABLE_D_ALL[weight][at[1]] for weight in paper.WEIGHTS)


def test_figures_headed_r1_lie_at_the_level_of_mr1() -> None:
    values = [value for row in (*paper.TABLE_C_ALL.values(), *paper.TABLE_D_ALL.values()) for value in row]
    assert max(values) < paper.TABLE_A["plain"]["R@1"]
    assert min(values) < paper.TABLE_A["plain"]["mR@1"] < max(values)

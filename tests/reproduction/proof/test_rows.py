"""The rows of the table of proof: each differs from the chosen setting in one switch."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.experiments.variants import OES, PLAIN
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.rows import (
    CHOSEN,
    HI_RES,
    ONE_COMPONENT,
    PAPER,
    SHUFFLED,
    proof_rows,
    settings_of,
    shown,
)

CHOICE = Perturbation.one_component(scale=0.5, threshold=0.99)
THE_PAPERS = Perturbation.paper(0.5, 0.99)
ONE_SWITCH = {
    "centred": {"pca": "centred"},
    "background out": {"pca": "background-out"},
    "norm kept": {"norm": "keep"},
    "scaled": {"operator": "scaled"},
    "random": {"operator": "random"},
    SHUFFLED: {"boxes": "shuffled"},
    "elsewhere": {"boxes": "elsewhere"},
    "orthogonal (added)": {"operator": "orthogonal"},
    "orthogonal (as worded)": {"operator": "complement"},
}


def test_rows_are_in_the_order_of_the_table() -> None:
    names = [row.name for row in shown(proof_rows(THE_PAPERS, CHOICE, 3))]
    rivals = [name for kind in ("regions", "crops", "tiles", "clusters") for name in (kind, f"{kind}, added")]
    assert names == [PLAIN, PAPER, CHOSEN, *ONE_SWITCH, *rivals, OES, HI_RES]


def test_rivals_are_plain_vectors_of_parts_of_the_photo() -> None:
    rows = {row.name: row for row in proof_rows(THE_PAPERS, CHOICE, 1, ("objects", "crops", HI_RES))}
    rivals = {name: (row.views, row.combine) for name, row in rows.items() if row.rival}
    assert rivals.pop(HI_RES)[0] == ()
    crops = "whole", "crop"
    assert rivals == {"crops": (crops, "max"), "crops, added": (crops, "sum"), OES: (("whole", "object"), "sum")}
    assert all(rows[name].settings == (None,) for name in rivals)
    assert not any(row.rival for row in proof_rows(THE_PAPERS, CHOICE, 1, ()))


def test_each_control_changes_one_switch_of_the_chosen_setting() -> None:
    rows = {row.name: row for row in proof_rows(THE_PAPERS, CHOICE, 3)}
    assert rows[PLAIN].settings == (None,)
    assert (rows[PAPER].settings, rows[CHOSEN].settings) == ((THE_PAPERS,), (CHOICE,))
    for name, changed in ONE_SWITCH.items():
        assert dataclasses.replace(rows[name].settings[0], seed=0) == dataclasses.replace(CHOICE, **changed)


def test_rows_that_draw_have_a_seed_for_each_draw() -> None:
    rows = proof_rows(THE_PAPERS, dataclasses.replace(CHOICE, seed=7), 3)
    drawn = {row.name: [setting.seed for setting in row.settings if setting] for row in rows if len(row.settings) > 1}
    assert {name for name in drawn if SHUFFLED not in name} == {"random", "elsewhere"}
    of_chosen = [seeds for name, seeds in drawn.items() if not name.startswith((PAPER, ONE_COMPONENT))]
    assert all(seeds == [7, 8, 9] for seeds in of_chosen)


@pytest.mark.parametrize("pca", ["uncentred", "centred", "background-out"])
def test_a_chosen_switch_is_taken_away_instead(pca: str) -> None:
    chosen = dataclasses.replace(CHOICE, pca=pca, norm="keep")
    rows = {row.name: row.settings for row in proof_rows(THE_PAPERS, chosen, 1)}
    names = {"uncentred": "uncentred", "centred": "centred", "background-out": "background out"}
    for kind, name in names.items():
        assert (name in rows) == (kind != pca)
    assert rows["norm free"] == (dataclasses.replace(chosen, norm="free"),)
    assert "norm kept" not in rows


def test_rows_with_objects_of_their_own_have_a_partner_with_shuffled_boxes() -> None:
    rows = proof_rows(THE_PAPERS, CHOICE, 2)
    settings = {row.name: row.settings for row in rows}
    partners = {row.of: row for row in rows if row.of}
    assert set(partners) == {CHOSEN, PAPER, "centred", "background out", "norm kept", "orthogonal (added)"}
    for name, partner in partners.items():
        assert [dataclasses.replace(one, boxes="own", seed=0) for one in partner.settings if one] == [
            *settings[name]
        ] * 2
        assert {one.boxes for one in partner.settings if one} == {"shuffled"}


def test_each_distinct_setting_is_embedded_once() -> None:
    rows = proof_rows(CHOICE, CHOICE, 2)  # the paper's is the chosen one
    settings, of_row = settings_of(rows)
    assert len({*settings.values()}) == len(settings)
    assert of_row[PAPER] == of_row[CHOSEN]
    assert of_row[OES] == of_row[PLAIN] == [PLAIN]
    assert [settings[name] for name in of_row["random"]] == [*next(r.settings for r in rows if r.name == "random")]

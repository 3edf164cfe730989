from __future__ import annotations

import dataclasses

from pipeline.experiments.variants import PLAIN
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.quantities import DIRECTION, DIRECTION_OWN, OWN, Quantity, quantities
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, SHUFFLED, proof_rows

CHOICE = Perturbation.one_component()


def test_the_quantities_are_differences_between_rows() -> None:
    rows = proof_rows(Perturbation.paper(), CHOICE, 2)
    found = quantities(rows)
    assert found[0] == Quantity(OWN, CHOSEN, SHUFFLED, CHOSEN)
    assert found[1] == Quantity(OWN, PAPER, f"{PAPER}, {SHUFFLED}", PAPER)
    assert found[-2] == Quantity(DIRECTION, "norm kept", PLAIN, "norm kept")
    assert found[-1] == Quantity(DIRECTION_OWN, "norm kept", f"norm kept, {SHUFFLED}", "norm kept")
    names = {row.name for row in rows}
    assert all({one.first, one.second} <= names for one in found)
    assert len({(one.first, one.second) for one in found}) == len(found)


def test_a_chosen_setting_that_keeps_the_norm_is_direction_alone() -> None:
    found = quantities(proof_rows(Perturbation.paper(), dataclasses.replace(CHOICE, norm="keep"), 2))
    assert found[0] == Quantity(OWN, CHOSEN, SHUFFLED, CHOSEN)
    assert found[-1] == Quantity(DIRECTION, CHOSEN, PLAIN, CHOSEN)
    assert len({(one.first, one.second) for one in found}) == len(found)
    assert Quantity(OWN, "norm free", f"norm free, {SHUFFLED}", "norm free") in found

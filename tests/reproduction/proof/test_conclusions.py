"""Sentences claim what the intervals say, and no more."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.variants import OES, PLAIN
from pipeline.reproduction.proof.conclusions import NOT_SHOWN, conclusions
from pipeline.reproduction.proof.page import series_contrasts
from pipeline.reproduction.proof.quantities import quantities
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, SHUFFLED, shown
from tests.reproduction.proof.outcomes import made_up_proof


def said(hits: Mapping[str, int]) -> dict[str, str]:
    """The sentences by their first words."""
    proof = made_up_proof(hits)
    contrasts = series_contrasts(proof, samples=200, seed=0)
    sentences = conclusions(contrasts, shown(proof.rows), quantities(proof.rows), proof.costs)
    return {sentence.split("**")[1]: sentence for sentence in reversed(sentences)}


def test_a_share_of_the_objects_own_is_claimed_where_it_shows() -> None:
    found = said({PLAIN: 4, CHOSEN: 30, PAPER: 30, SHUFFLED: 10, OES: 35})
    own = found["What is the object's"]
    assert f"of {CHOSEN}: over all captions above zero, and so in 2 of 2 series by themselves (pooled +47.50" in own
    assert f"over all captions {CHOSEN}, {PAPER};" in found["For which settings"]
    assert "over all captions +65.00" in found["Gain."]
    assert "over all captions above the chosen setting, +12.50" in found[OES]
    assert "1 vectors, 1 tower passes, +0.50 ms a photo" in found[OES]


def test_the_row_of_kept_norms_is_among_the_settings() -> None:
    found = said({"norm kept": 30})
    assert "over all captions norm kept; where" in found["For which settings"]


def test_nothing_is_claimed_where_other_boxes_do_as_well() -> None:
    found = said({CHOSEN: 21, SHUFFLED: 20, PAPER: 11, f"{PAPER}, {SHUFFLED}": 10})
    assert f"of {CHOSEN}: over all captions {NOT_SHOWN} (pooled +0.00" in found["What is the object's"]
    assert "over all captions none; where the largest object is below 10 % none" in found["For which settings"]
    assert NOT_SHOWN in found["Direction alone"]


def test_a_loss_is_called_a_loss() -> None:
    found = said({PLAIN: 30, CHOSEN: 8, SHUFFLED: 30, "norm kept": 8, OES: 3})
    assert "over all captions below zero" in found["What is the object's"]
    assert "over all captions -55.00" in found["Direction alone"]
    assert "(below zero)" in found["Direction alone"]
    assert "below the chosen setting" in found[OES]
    assert CHOSEN not in found["For which settings"]

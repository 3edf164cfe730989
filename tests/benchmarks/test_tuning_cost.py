"""The measurement of a search's cost, on a small vision tower."""

from __future__ import annotations

import pytest
import torch

from pipeline.benchmarks import tuning_cost
from pipeline.benchmarks.evaluation import Sizes
from pipeline.benchmarks.tuning_cost import TuningTimes, fifty, measure_tuning, settings_of_proof, with_others
from pipeline.method.objects import Objects


def test_fifty_settings_are_fifty() -> None:
    assert len(set(fifty())) == 50


@pytest.mark.slow
def test_times_are_positive_and_consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(tuning_cost, "FLICKR", Sizes(40, 80, 32, 256))
    monkeypatch.setattr(tuning_cost, "fifty", lambda: fifty()[:3])
    times = measure_tuning(image_size=56, images=2, objects=2, repetitions=1, layers=1)
    assert (times.settings, times.images, times.objects, times.threads) == (3, 2, 2, 1)
    assert times.proof_settings > 20
    assert f"{times.proof_settings} of the table of proof" in str(times)
    assert times.token_bytes == pytest.approx(17 * 1408 * 4, rel=0.02)
    assert min(times.backbone, times.one, times.all, times.proof, times.disk, times.ranking, times.peak) > 0


def test_times_add_up_for_a_thousand_photos() -> None:
    times = TuningTimes(4.0, 0.25, 3.0, 0.5, 1.0, 50, 2, 6, 4_000_000, 2**30, 2)
    assert times.cold == 1000 * 4.25 + 1
    assert times.search == 1000 * 7.5 + 50
    assert times.ratio == times.search / times.cold
    assert "all 50 settings 7,550 s: 1.78 of it" in str(times)


def test_the_settings_of_the_proof_need_no_second_photo() -> None:
    photo = with_others(Objects([[0.1, 0.2, 0.4, 0.5]], [""], [1], (9, 9)))
    shuffled = [setting for setting in settings_of_proof() if setting is not None and setting.boxes == "shuffled"]
    assert {setting.seed for setting in shuffled} == set(photo.shuffled)
    torch.testing.assert_close(photo.shuffled[0], torch.tensor([[0.6, 0.2, 0.9, 0.5]]))

"""Options of the API: checked as on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.api.options import check_options
from pipeline.detectors import DetectorConfig
from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.runs.spec import IndexSpec


def test_groups_may_be_given_by_their_main_option() -> None:
    spec = check_options(IndexSpec, source=Path("photos"), out="features", detector="yolo11n", perturbation="released")
    assert spec.source == "photos"
    assert spec.detector == DetectorConfig(model="yolo11n")
    assert spec.perturbation.build() == Perturbation.released()


@pytest.mark.parametrize("setting", [None, Perturbation.paper(2, 0.95, "1-area")])
def test_a_perturbation_may_be_given_as_it_is(setting: Perturbation | None) -> None:
    assert check_options(IndexSpec, source="p", out="o", perturbation=setting).perturbation.build() == setting


def test_all_mistakes_are_named_with_what_was_meant() -> None:
    with pytest.raises(QpertError) as caught:
        check_options(IndexSpec, source="p", out="o", batchsize=3, limit=0, detector={"confidence": 2})
    lines = str(caught.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines[:2]) == ["detector.confidence", "limit"]
    assert lines[2] == "there is no option batchsize; did you mean batch_size?"

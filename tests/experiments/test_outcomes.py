from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.experiments.outcomes import Outcomes
from pipeline.retrieval.ranks import Ranks


def test_ranks_come_back_as_they_went_and_damaged_ones_count_as_missing(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path / "new")
    owners = np.array([0, 0, 1])
    ranks = Ranks(np.array([1, 5, 2]), np.array([1, 0]), owners, np.array([-1, 9]), ("a b.jpg", "ü.jpg"))
    name = "constant, scale 2, threshold 0.99"
    assert outcomes.find(name) is None
    outcomes.keep(name, ranks)
    found = outcomes.find(name)
    assert found is not None
    for field in ("text_ranks", "image_ranks", "image_of_text", "bins"):
        assert np.array_equal(getattr(found, field), getattr(ranks, field))
    assert found.image_ids == ranks.image_ids
    assert outcomes.find("constant, scale 20, threshold 0.99") is None
    (path,) = (tmp_path / "new").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    assert outcomes.find(name) is None

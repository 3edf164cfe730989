"""`pipeline.build_index`."""

from __future__ import annotations

import numpy as np
import pytest

import pipeline
from pipeline.errors import QpertError
from pipeline.features.removing import removed_rows
from pipeline.features.store import FeatureStore


def test_builds_and_says_what_it_did(write_features) -> None:
    features = write_features(np.eye(6)[:, None])
    report = pipeline.build_index(features)
    assert (report.kind, report.photos, report.vectors, report.made) == ("exact", 6, 6, 1)
    FeatureStore(features.root).remove_rows(
        "0" * 16, removed_rows([("part000-000000.parquet", f"{n:06d}.jpg") for n in range(3)], "gone")
    )
    with pytest.warns(UserWarning, match="3 photos of the index have been removed since"):
        assert pipeline.build_index(features.root).made == 0


def test_options_are_those_of_the_command(write_features) -> None:
    root = write_features(np.eye(6)[:, None]).root
    with pytest.raises(QpertError, match="there is no option list; did you mean lists"):
        pipeline.build_index(root, list=3)

"""`pipeline.export`: the export of the command, for sets by name and for opened ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline.errors import QpertError
from tests.features.viewed import units


def test_opened_sets_and_paths_are_exported(write_features: Any, tmp_path: Path) -> None:
    first, second = (write_features(units(3, 1, 8), [f"{name}{i}" for i in range(3)], name=name) for name in "ab")
    about = pipeline.export([first, Path(second.root)], "npy", tmp_path / "out", rows="photo")
    assert (about["photos"], about["sets"]) == (6, [first.root, second.root])
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (6, 8)
    assert pipeline.export(first, "csv", tmp_path / "a.csv")["rows"] == 3


def test_wrong_options_are_errors(write_features: Any, tmp_path: Path) -> None:
    features = write_features(units(3, 1, 8))
    with pytest.raises(QpertError, match="there is no option row; did you mean rows"):
        pipeline.export(features, "npy", tmp_path / "out", row="photo")
    with pytest.raises(QpertError, match="to: Input should be"):
        pipeline.export(features, "xls", tmp_path / "out")  # type: ignore[arg-type]


def test_the_variant_of_an_opened_set_is_exported(write_features: Any, tmp_path: Path) -> None:
    features = write_features(units(3, 1, 8))
    manifest = features.manifest.model_copy(update={"variants": ["plain", "chosen"]})
    opened = [replace(features, manifest=manifest, variant=number) for number in (0, 1)]
    with pytest.raises(QpertError, match="opened with different variants"):
        pipeline.export(opened, "npy", tmp_path / "out")
    with pytest.raises(QpertError, match="no variant 'chosen'"):
        pipeline.export(opened[1], "npy", tmp_path / "out")

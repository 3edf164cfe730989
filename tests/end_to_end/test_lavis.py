"""`qpert index --encoder blip2-lavis` beside `--encoder blip2`, in one Ray session: the same features from both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.cli import main
from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet

COUNT = 50


@pytest.mark.usefixtures("ray_cpu")
def test_both_encoders_index_scenes_alike(
    tmp_path: Path, run_lavis: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = torch.zeros(1, 3, 56, 56).tolist()
    weights = run_lavis(pixels=pixels, texts=["a red star"], boxes=[[]], cases=[{}]) / "tiny.pth"
    write_scenes(tmp_path / "scenes", COUNT, seed=3)
    found = {}
    for encoder in ("blip2-lavis", "blip2"):
        out = tmp_path / encoder
        words = ["index", str(tmp_path / "scenes" / "images"), "--out", str(out), "--encoder", encoder]
        words += [
            "--weights",
            str(weights),
            "--detector",
            "annotated",
            "--detector.annotations",
            str(tmp_path / "scenes"),
        ]
        assert main([*words, "--perturbation.scale", "3", "--precision", "float32", "--strict"]) == 0
        features = FeatureSet.open(str(out))
        assert len(features) == COUNT
        vectors = np.concatenate([features.embeddings(block) for block in features.iter_blocks()])
        found[encoder] = dict(zip(features.ids, vectors, strict=True))
        assert features.manifest.encoder["name"] == encoder
    assert found["blip2"].keys() == found["blip2-lavis"].keys()
    for name, vectors in found["blip2"].items():
        assert np.abs(vectors - found["blip2-lavis"][name]).max() < 1e-4
    capsys.readouterr()
    # Texts are read by the encoder blip2 in this process, for features of either.
    answers = {}
    for encoder in found:
        assert main(["search", str(tmp_path / encoder), "a red star", "-k", "5", "--weights", str(weights)]) == 0
        answers[encoder] = capsys.readouterr().out
    assert answers["blip2"] == answers["blip2-lavis"]

"""`qpert evaluate --rerank`: from photos on disk to figures, against a computation photo by photo."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.cli import main
from pipeline.cluster.machines import Machines
from pipeline.datasets.scenes import write_scenes
from pipeline.encoders import load_encoder
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.provenance import MadeWith
from pipeline.features.store import FeatureStore
from pipeline.io.images import decode
from pipeline.method.settings import Perturbation
from pipeline.runs.match_run import MatchRun
from pipeline.runs.options import ClusterOptions
from pipeline.runs.reranking import _as_indexed, check_reranking, perturbation_of
from pipeline.stages.columns import objects_from_row
from tests.encoders.blip2.tiny_blip2 import write_folder

COUNT, K = 10, 4


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return write_folder(tmp_path / "blip2")


@pytest.mark.usefixtures("ray_cpu")
def test_figures_are_those_of_matching_the_best_candidates(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = tmp_path / "scenes"
    captions = json.loads(write_scenes(scenes, COUNT, seed=9).read_text())["images"]
    out = tmp_path / "out"
    words = ["index", str(scenes / "images"), "--out", str(out), "--encoder", "blip2", "--weights", weights]
    words += ["--detector", "annotated", "--detector.annotations", str(scenes), "--precision", "float32"]
    words += ["--perturbation", "one-component"]
    assert main([*words, "--perturbation.stages", "itc", "itm", "--perturbation.scale", "30"]) == 0
    figures = tmp_path / "figures.json"
    command = ["evaluate", str(out), "--captions", str(scenes / "dataset_scenes.json"), "-k", "1", "2", "--rerank"]
    assert main(command) == 2  # the manifest alone opens no files
    assert f"--weights {weights}" in capsys.readouterr().err
    command += ["--weights", weights]
    assert main([*command, "--rerank-k", str(K), "--json", str(figures)]) == 0
    text = capsys.readouterr()
    assert "out + ITM of 4" in text.out
    assert "pairs of 10 photos and captions" in text.err
    found = json.loads(figures.read_text())
    seen: list[tuple[Any, Any]] = []

    def match(spec: Any, **session: Any) -> MatchRun:
        seen.append((spec, session))
        return MatchRun(spec)

    monkeypatch.setattr("pipeline.runs.reranking.MatchRun", match)
    options = ["--accelerators", "none", "--patience", "6", "--wait", "1", "--cpus", "2"]
    assert main([*command, "--rerank-k", str(K), *options]) == 0
    ((spec, session),) = seen
    assert (spec.gpus.names, spec.gpus.minutes, spec.patience) == (["none"], 1, 360)
    assert (spec.worker.patience, session) == (120, {"address": None, "cpus": 2, "verbose": False})

    features = FeatureSet.open(str(out))
    setting = perturbation_of(features)
    assert setting == Perturbation(scale=30, stages=("itc", "itm"))
    encoder = load_encoder("blip2", weights=weights)
    rows = [row for block in features.iter_blocks() for row in block.to_pylist()]
    vectors = np.concatenate([features.embeddings(block) for block in features.iter_blocks()])
    by_name = {entry["filename"]: [each["raw"] for each in entry["sentences"]] for entry in captions}
    texts = [(number, text) for number, row in enumerate(rows) for text in by_name[row["image_id"]]]
    with torch.no_grad():
        cosine = np.einsum("ivd,td->ivt", vectors, encoder.embed_text([text for _, text in texts]).numpy()).max(1)
        matching = np.empty_like(cosine)
        for number, row in enumerate(rows):
            image = decode(Path(row["uri"]).read_bytes())
            tokens = encoder.backbone(encoder.preprocess(image)[None])
            objects = [objects_from_row(row["objects"], image.size)]
            matching[number] = encoder.match(tokens, [text for _, text in texts], objects, setting).numpy()
    ranks = []
    for column, (owner, _) in enumerate(texts):
        order = np.argsort(-cosine[:, column])
        best = order[:K]
        again = [*best[np.argsort(-(matching + cosine)[best, column])], *order[K:]]
        ranks.append(1 + again.index(owner))
    got = found["report"]["t2i"]["overall"]
    for k in (1, 2):
        assert got[str(k)] == pytest.approx(np.mean(np.array(ranks) <= k))
    assert not np.allclose(np.mean(np.array(ranks) == 1), np.mean(cosine.argmax(0) == [owner for owner, _ in texts]))


def test_gpu_types_and_patience_come_from_the_command_or_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Machines(8.0, Counter(A100=1, V100=1))
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: here)
    made = {"accelerators": ["V100", "K80"], "patience": 12}

    def recorded(config: dict[str, Any]) -> MadeWith:
        return MadeWith.of(Manifest(fingerprint="f", encoder={"name": "blip2"}, config=config), "out")

    def types(config: dict[str, Any], asked: ClusterOptions) -> Any:
        gpus, _ = _as_indexed(recorded(config), asked, False)
        assert gpus.find() is here
        return gpus.on(here)

    assert types(made, ClusterOptions(patience=None)) == ["V100"]
    assert types(made | {"accelerators": ["K80"]}, ClusterOptions()) is None  # made elsewhere: any GPU does
    assert types(made | {"accelerators": ["none"]}, ClusterOptions()) == ["none"]
    assert types({}, ClusterOptions()) is None
    assert types(made, ClusterOptions(accelerators=["A100"])) == ["A100"]
    assert types(made, ClusterOptions(accelerators=["K80"])) == ["K80"]  # an error where the pools are planned
    for config, asked, patience in (
        (made, ClusterOptions(patience=None), 720),
        (made, ClusterOptions(patience=5), 300),
        ({}, ClusterOptions(patience=None), 1800),
        ({"patience": None}, ClusterOptions(patience=None), 1800),
    ):
        assert _as_indexed(recorded(config), asked, False)[1] == patience
    for bad in ({"patience": -1}, {"patience": 1e9}, {"patience": float("nan")}, {"accelerators": [1, {}]}):
        with pytest.raises(QpertError, match=r"out/manifest\.json was not written by qpert index: \w+"):
            recorded(bad)


def test_an_encoder_without_matching_is_refused_at_once(write_features, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_features(np.eye(3)[:, None]).root
    assert main(["evaluate", out, "--captions", "/nowhere.json", "--rerank-k", "3"]) == 2
    assert "--rerank-k needs --rerank" in capsys.readouterr().err
    assert main(["evaluate", out, "--captions", "/nowhere.json", "--rerank"]) == 2
    assert "--rerank needs image-text matching, which the encoder coca" in capsys.readouterr().err


@pytest.mark.parametrize("several", [False, True])
def test_boxes_that_features_do_not_keep_are_refused_at_once(several: bool, tmp_path: Path) -> None:
    setting = Perturbation(boxes="shuffled", stages=("itc", "itm")).as_dict()
    recorded = {"a": None, "b": setting} if several else setting
    FeatureStore(str(tmp_path)).write_manifest(
        Manifest(
            fingerprint="f",
            encoder={"name": "blip2"},
            identity={"perturbation": recorded},
            variants=["a", "b"] if several else [],
        )
    )
    with pytest.raises(QpertError, match=r"indexed with the boxes of other photos .* --perturbation\.stages itc"):
        check_reranking([(str(tmp_path), "b" if several else None)])
    if several:
        check_reranking([(str(tmp_path), "a")])


@pytest.mark.parametrize(
    ("encoder", "config", "message"),
    [
        ({"name": "nonesuch"}, {}, "unknown encoder 'nonesuch'"),
        ({"name": ["blip2"]}, {}, "name cannot be"),
        ({"name": "blip2"}, {"dtype": "int8"}, "dtype cannot be 'int8'"),
        ({"name": "blip2"}, {"max_megapixels": 1e12}, "max_megapixels cannot be"),
        ({"name": "blip2"}, {"max_megapixels": "all"}, "max_megapixels cannot be 'all'"),
    ],
)
def test_what_a_manifest_records_is_checked_before_any_work(
    write_features, encoder: object, config: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_features(np.eye(3)[:, None]).root
    path = Path(out) / "manifest.json"
    values = json.loads(path.read_text())
    values["encoder"], values["config"] = encoder, config
    path.write_text(json.dumps(values))
    assert main(["evaluate", out, "--captions", "/nowhere.json", "--rerank"]) == 2
    assert message in capsys.readouterr().err

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import QpertError
from tests.jobs.cli.example import Inner, example


def test_yaml_then_command_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("source: photos\nout: a\ninner: {model: big, max-objects: 4}\nwords: [x]\n")
    config = example("--config", str(tmp_path / "run.yaml"), "--out", "b", "--inner.confidence", "0.1")
    assert (config.source, config.out, config.words) == ("photos", "b", ["x"])
    assert config.inner == Inner(model="big", confidence=0.1, max_objects=4)
    (tmp_path / "run.yaml").write_text("source: photos\nout: a\ninner: big\n")
    assert example("--config", str(tmp_path / "run.yaml")).inner.model == "big"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorce: x", "unknown key sorce; did you mean source"),
        ("inner: {confidense: 1}", "unknown key inner.confidense; did you mean inner.confidence"),
        ("zzz: 1", "unknown key zzz; known: source, words"),
        ("inner.max_object: 1", "unknown key inner.max_object; did you mean inner.max_objects"),
        ("inner: {zzz: 1}", "unknown key inner.zzz; known: inner.model, inner.confidence, inner.max_objects"),
        ("iner.model: big", r"unknown key iner.model; did you mean inner\.model\?"),
        ("inner: yes", "inner is not a switch; write its value, not true"),
        ("just text", "must hold names and values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_in_yaml_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(QpertError, match=message):
        example("p", "--out", "o", "--config", str(tmp_path / "run.yaml"))


def test_dotted_names_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("out: o\ninner.model: big\ninner.confidence: 0.5\n")
    config = example("p", "--config", str(tmp_path / "run.yaml"))
    assert (config.inner.model, config.inner.confidence) == ("big", 0.5)
    (tmp_path / "run.yaml").write_bytes(b"out: caf\xe9")
    with pytest.raises(QpertError, match="cannot read --config"):
        example("p", "--config", str(tmp_path / "run.yaml"))


def test_values_that_yaml_reads_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("out: o\ninner: ~\ndry_run: yes\n")
    config = example("p", "--config", str(tmp_path / "run.yaml"))
    assert (config.inner.model, config.dry_run) == ("none", True)
    (tmp_path / "run.yaml").write_text("out: o\ntop_k: yes\n")
    with pytest.raises(QpertError, match="top_k is not a switch; write its value, not true"):
        example("p", "--config", str(tmp_path / "run.yaml"))


def test_one_value_alone_needs_no_list(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("out: o\nwords: x\nkinds: a b\n")
    config = example("p", "--config", str(tmp_path / "run.yaml"))
    assert (config.words, config.kinds) == (["x"], ["a b"])

"""`qpert scenes`: how many."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import cli


@pytest.mark.parametrize("option", ["--scenes", "--count"])
def test_the_number_of_scenes_has_one_name_and_its_earlier_one(tmp_path: Path, option: str) -> None:
    assert cli.main(["scenes", str(tmp_path / "s"), option, "3"]) == 0
    assert len(list((tmp_path / "s" / "images").iterdir())) == 3


@pytest.mark.parametrize("key", ["scenes", "count"])
def test_yaml_knows_both_names(tmp_path: Path, key: str) -> None:
    (tmp_path / "run.yaml").write_text(f"out: {tmp_path / 's'}\n{key}: 2\n")
    assert cli.main(["scenes", "--config", str(tmp_path / "run.yaml")]) == 0
    assert len(list((tmp_path / "s" / "images").iterdir())) == 2


def test_crowded_scenes_differ_from_balanced_ones_and_are_limited(tmp_path: Path) -> None:
    for profile in ("balanced", "crowded"):
        assert cli.main(["scenes", str(tmp_path / profile), "--scenes", "4", "--profile", profile]) == 0
    captions = [(tmp_path / profile / "dataset_scenes.json").read_text() for profile in ("balanced", "crowded")]
    assert captions[0] != captions[1]
    assert cli.main(["scenes", str(tmp_path / "many"), "--scenes", "5000", "--profile", "crowded"]) == 2
    assert not (tmp_path / "many").exists()

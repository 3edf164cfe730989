"""``qpert export``: what it says, and what it refuses."""

from __future__ import annotations

import numpy as np

from jobs.cli import main
from tests.features.viewed import units


def test_it_says_what_it_wrote(write_features, tmp_path, capsys):
    features = write_features(units(5, 2, 8), failed=["000003.jpg"])
    out = tmp_path / "vectors"
    assert main(["export", features.root, "--to", "npy", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 8 rows, one per vector, of 4 photos\n"
    assert np.load(out / "vectors.npy").shape == (8, 8)
    assert main(["export", features.root, "--to", "npy", "--out", str(out)]) == 2
    assert "replace it with --force" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(write_features, tmp_path, capsys):
    features = write_features(units(5, 2, 8))
    out = tmp_path / "photos.csv"
    out.write_text("kept")
    assert main(["export", features.root, "--to", "csv", "--out", str(out), "--limit", "2", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("would write 2 rows, one per photo, of 2 photos: about ")
    assert text.endswith(f"B to {out}\n")
    assert out.read_text() == "kept"


def test_missing_and_unknown_words_are_explained(write_features, capsys):
    features = write_features(units(5, 2, 8))
    assert main(["export", "--to", "csv", "--out", "x"]) == 2
    assert "FEATURES is missing" in capsys.readouterr().err
    assert main(["export", features.root, "--to", "xls", "--out", "x"]) == 2
    assert "--to: Input should be 'lance', 'faiss', 'npy', 'hf' or 'csv'" in capsys.readouterr().err

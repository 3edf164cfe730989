from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.stages.identity import weights_identity
from pipeline.weights import absolute_weights, split_weights


def test_a_plus_joins_two_unless_it_is_in_a_path_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert split_weights(str(tmp_path / "a+b")) == (str(tmp_path / "a+b"), None)
    assert split_weights("x.pth+y.pth") == ("x.pth", "y.pth")
    assert split_weights(f"{tmp_path}/a+b/x.pth+y.pth") == (f"{tmp_path}/a+b/x.pth", "y.pth")


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b.pth"):
        Path(name).touch()
    here = str(tmp_path)
    assert absolute_weights("a.pth+b.pth") == f"{here}/a.pth+{here}/b.pth"
    assert absolute_weights("org/name+b.pth") == f"org/name+{here}/b.pth"
    assert absolute_weights("coca_ViT-B-32:a.pth") == f"coca_ViT-B-32:{here}/a.pth"
    assert [absolute_weights(name) for name in (None, "miniature", "org/name")] == [None, "miniature", "org/name"]


def test_the_identity_of_a_checkpoint_is_of_all_that_it_is_read_with(tmp_path: Path) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    path, other = folder / "x.pth", folder / "eva.pth"
    path.write_bytes(b"one")
    other.write_bytes(b"eva")
    joined = f"{path}+{other}"
    seen = {weights_identity(joined)["digest"]}
    for file, text in (
        (path, "two"), (other, "eva 2"), (folder / "x.pth.json", "{}"), (folder / "x.pth.json", "[]"),
        (folder / "vocab.txt", "a"), (folder / "vocab.txt", "b"), (folder / "tokenizer.json", "{}"),
    ):  # fmt: skip
        file.write_text(text)
        seen.add(weights_identity(joined)["digest"])
    assert len(seen) == 8
    assert weights_identity(joined)["name"] == "x.pth+eva.pth"
    assert weights_identity("org/name") == {"name": "org/name"}

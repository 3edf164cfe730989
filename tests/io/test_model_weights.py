from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.features.fingerprint import weights_identity
from pipeline.io.model_weights import absolute_weights, chosen_weights, split_weights


def test_a_plus_joins_two_weights_unless_it_is_in_an_existing_path(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("recorded", [None, "miniature"])
def test_bundled_weights_of_a_manifest_are_used(recorded: str | None) -> None:
    assert chosen_weights(None, recorded, "out") is None
    assert chosen_weights("/mine", recorded, "out") == "/mine"


@pytest.mark.parametrize("recorded", ["org/name", "hf-hub:org/na.me-1", "coca_ViT-L-14:laion2b_s13b_b90k"])
def test_published_weights_of_a_manifest_are_used(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a local folder or file has that name, which libraries would open instead."""
    monkeypatch.chdir(tmp_path)
    assert chosen_weights(None, recorded, "out") == recorded
    place = Path(recorded.rpartition(":")[2])
    place.mkdir(parents=True)
    with pytest.raises(QpertError, match="only if you name them"):
        chosen_weights(None, recorded, "out")
    assert chosen_weights(recorded, "org/other", "out") == recorded


@pytest.mark.parametrize(
    "recorded",
    [
        "/my/path", "~/path", "path", ".", "../up/down", "./a", "a/b/c", "org/name+/head.pth", "coca_ViT-L-14:/x.bin",
        "coca_ViT-L-14:x/y", "local-dir:/x", "file:///x", "https://example.org/x", "//host/share", "C:\\x", "/a b'c",
        "hf-hub:/etc", "org/..", "-x/y", "",
    ],
)  # fmt: skip
def test_files_named_by_a_manifest_are_refused_with_the_option_that_opens_them(recorded: str) -> None:
    with pytest.raises(QpertError, match="only if you name them") as caught:
        chosen_weights(None, recorded, "out")
    assert shlex.split(str(caught.value).rpartition("--weights ")[2]) == [recorded]


@pytest.mark.parametrize("recorded", [3, ["a"], {"a": 1}, True, "a\x1b[31m", "a\nb", "x" * 5000])
def test_impossible_names_of_weights_are_escaped_in_the_message(recorded: object) -> None:
    with pytest.raises(QpertError, match="impossible weights") as caught:
        chosen_weights(None, recorded, "out")
    assert str(caught.value).isprintable()


def test_the_identity_of_a_checkpoint_covers_the_files_read_with_it(tmp_path: Path) -> None:
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

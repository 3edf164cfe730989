"""Image tokens on disk: written, read back, and memory-mapped if local."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.io import locations
from pipeline.io.retrying_files import retrying
from tests.payloads import Touch


def in_a_bucket(path: str) -> tuple[fs.FileSystem, str]:
    """A replacement for `locate` with a file system that does not look local."""
    return retrying(fs.LocalFileSystem()), path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_calls_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    calls = [torch.randn(3, 5, 8).to(dtype), torch.randn(1, 5, 8).to(dtype), torch.randn(5, 2, 8).to(dtype).mT]
    name = FeatureStore(str(tmp_path)).tokens.write(["a", "b"], calls)
    back = FeatureStore(str(tmp_path)).tokens.read(name)
    assert list(back) == [0, 1, 2]
    assert all(torch.equal(back[number], call) and back[number].dtype == dtype for number, call in enumerate(calls))
    assert FeatureStore(str(tmp_path)).tokens.bytes() == (tmp_path / "tokens" / name).stat().st_size > 0


def test_a_local_file_is_mapped(tmp_path: Path) -> None:
    name = FeatureStore(str(tmp_path)).tokens.write(["a"], [torch.randn(4, 100, 100)])
    tokens = FeatureStore(str(tmp_path)).tokens.read(name)[0]
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if name in line]
    edges = [[int(edge, 16) for edge in line.split()[0].split("-")] for line in maps]
    assert any(low <= tokens.data_ptr() < high for low, high in edges)


def test_an_object_store_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.randn(2, 3, 4)
    name = FeatureStore(str(tmp_path)).tokens.write(["a"], [tokens])
    monkeypatch.setattr(locations, "locate", in_a_bucket)
    assert torch.equal(FeatureStore(str(tmp_path)).tokens.read(name)[0], tokens)


def test_the_same_photos_overwrite_their_file_and_other_files_are_removed(tmp_path: Path) -> None:
    files = FeatureStore(str(tmp_path)).tokens
    first = files.write(["a", "b"], [torch.zeros(2, 1, 1)])
    again = files.write(["a", "b"], [torch.ones(2, 1, 1)])
    other = files.write(["a", "c"], [torch.ones(2, 1, 1)])
    assert first == again != other
    assert files.read(first)[0].sum() == 2
    assert files.remove_others({again}) == 1
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [again]
    assert FeatureStore(str(tmp_path / "nothing")).tokens.remove_others(set()) == 0


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "", "a.pt", "0" * 20 + ".pt", "0" * 20 + ".safetensors\n"]
)
def test_impossible_names_of_token_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(QpertError, match="image tokens that cannot be in"):
        FeatureStore(str(tmp_path)).tokens.read(name)


@pytest.mark.parametrize("place", ["local", "bucket"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "pickle", "no number", "header", "pipe"])
def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, place: str) -> None:
    name = FeatureStore(str(tmp_path)).tokens.write(["a"], [torch.zeros(2, 3, 4)])
    path, ran = tmp_path / "tokens" / name, tmp_path / "ran"
    whole = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage != "gone":
        contents = {
            "empty": b"",
            "cut": whole[:-10],
            "pickle": pickle.dumps(Touch(str(ran))),
            "no number": safetensors.torch.save({"x": torch.zeros(1)}),
            "header": (2**62).to_bytes(8, "little") + whole[8:],
        }
        path.write_bytes(contents[damage])
    if place == "bucket":
        if damage == "pipe":
            return  # a bucket has none
        monkeypatch.setattr(locations, "locate", in_a_bucket)
    with pytest.raises(QpertError, match=f"cannot read the image tokens .*{name}"):
        FeatureStore(str(tmp_path)).tokens.read(name)
    assert not ran.exists()

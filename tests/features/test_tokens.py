"""Image tokens on disk: what was written comes back, mapped where it is local."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pipeline.errors import QpertError
from pipeline.features import tokens as token_shards
from pipeline.features.tokens import read_shard, remove_others, shard_bytes, write_shard
from tests.payloads import Touch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_calls_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    calls = [torch.randn(3, 5, 8).to(dtype), torch.randn(1, 5, 8).to(dtype), torch.randn(5, 2, 8).to(dtype).mT]
    name = write_shard(str(tmp_path), ["a", "b"], calls)
    back = read_shard(str(tmp_path), name)
    assert list(back) == [0, 1, 2]
    assert all(torch.equal(back[number], call) and back[number].dtype == dtype for number, call in enumerate(calls))
    assert shard_bytes(str(tmp_path)) == (tmp_path / "tokens" / name).stat().st_size > 0


def test_a_local_file_is_mapped(tmp_path: Path) -> None:
    name = write_shard(str(tmp_path), ["a"], [torch.randn(4, 100, 100)])
    tokens = read_shard(str(tmp_path), name)[0]
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if name in line]
    edges = [[int(edge, 16) for edge in line.split()[0].split("-")] for line in maps]
    assert any(low <= tokens.data_ptr() < high for low, high in edges)


def test_an_object_store_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.randn(2, 3, 4)
    name = write_shard(str(tmp_path), ["a"], [tokens])
    monkeypatch.setattr(token_shards, "is_uri", lambda _: True)
    assert torch.equal(read_shard(str(tmp_path), name)[0], tokens)


def test_the_same_photos_overwrite_and_others_go(tmp_path: Path) -> None:
    out = str(tmp_path)
    first = write_shard(out, ["a", "b"], [torch.zeros(2, 1, 1)])
    again = write_shard(out, ["a", "b"], [torch.ones(2, 1, 1)])
    other = write_shard(out, ["a", "c"], [torch.ones(2, 1, 1)])
    assert first == again != other
    assert read_shard(out, first)[0].sum() == 2
    assert remove_others(out, {again}) == 1
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [again]
    assert remove_others(str(tmp_path / "nothing"), set()) == 0


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "", "a.pt", "0" * 20 + ".pt", "0" * 20 + ".safetensors\n"]
)
def test_names_that_are_no_file_of_the_features(tmp_path: Path, name: str) -> None:
    with pytest.raises(QpertError, match="name tokens that are no file of theirs"):
        read_shard(str(tmp_path), name)


@pytest.mark.parametrize("place", ["local", "bucket"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "pickle", "no number", "header", "pipe"])
def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, place: str) -> None:
    name = write_shard(str(tmp_path), ["a"], [torch.zeros(2, 3, 4)])
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
        monkeypatch.setattr(token_shards, "is_uri", lambda _: True)
    with pytest.raises(QpertError, match=f"cannot read the image tokens .*{name}"):
        read_shard(str(tmp_path), name)
    assert not ran.exists()

"""Image tokens on disk: what was written comes back, mapped where it is local."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline import token_shards
from pipeline.token_shards import read_shard, remove_others, shard_bytes, write_shard


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

"""K-means of one photo's tokens: groups that are there are found, and the result depends on nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoders.clusters import cluster_tokens


def groups(count: int, each: int, spread: float = 0.02, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens around `count` orthogonal directions, shuffled, and the group of each."""
    random = torch.Generator().manual_seed(seed)
    of_token = torch.arange(count).repeat(each)[torch.randperm(count * each, generator=random)]
    return torch.eye(16)[of_token] + spread * torch.randn(count * each, 16, generator=random), of_token


@pytest.mark.parametrize("seed", range(5))
def test_separate_groups_are_found(seed: int) -> None:
    tokens, of_token = groups(5, 12, seed=seed)
    members = cluster_tokens(tokens, 5, seed)
    assert len({(int(a), int(b)) for a, b in zip(members, of_token, strict=True)}) == 5
    assert members.unique().tolist() == [0, 1, 2, 3, 4]


def test_clusters_are_numbered_by_their_first_token() -> None:
    members = cluster_tokens(groups(4, 6)[0], 4).tolist()
    assert list(dict.fromkeys(members)) == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_any_tokens(tokens: int, count: int, seed: int, draw: int) -> None:
    given_tokens = torch.randn(tokens, 6, generator=torch.Generator().manual_seed(draw))
    members = cluster_tokens(given_tokens, count, seed)
    assert members.shape == (tokens,)
    assert sorted(set(members.tolist())) == list(range(int(members.max()) + 1))
    assert int(members.max()) < count
    assert torch.equal(cluster_tokens(given_tokens, count, seed), members)
    assert torch.equal(cluster_tokens(4 * given_tokens, count, seed), members)


def test_tokens_of_outlying_length_take_no_cluster_for_themselves() -> None:
    tokens, of_token = groups(3, 10)
    tokens[4] *= 100
    members = cluster_tokens(tokens, 3)
    assert all(members[of_token == of_token[4]] == members[4])


def test_equal_tokens_are_one_cluster() -> None:
    assert cluster_tokens(torch.ones(7, 4), 3).tolist() == [0] * 7
    assert set(cluster_tokens(torch.eye(4)[[0, 0, 1]], 3).tolist()) == {0, 1}


def test_half_precision() -> None:
    tokens, _ = groups(3, 8)
    assert cluster_tokens(tokens.bfloat16(), 3).unique().numel() == 3

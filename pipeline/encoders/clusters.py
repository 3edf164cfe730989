"""Groups of a photo's image tokens, found without a detector: seeded k-means, one photo at a time.

As in dense clusters of CLIP's tokens (Dense-CLIP, Cluster-CLIP), a photo is described by a few groups of its patches.
Here a group becomes a vector by pooling masked to its tokens (`pipeline.encoders.masking`), which every attention
pooling defines; the mean token of a group would pass an attention over a single token, which weighs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_ITERATIONS = 25
"""Most rounds of Lloyd's algorithm; a few hundred tokens settle in fewer."""


def cluster_tokens(tokens: Tensor, count: int, seed: int = 0) -> Tensor:
    """The cluster of each token, by k-means of the tokens' directions.

    Lengths are left out: a few background tokens of outlying norm would take clusters for themselves. The result
    depends on the tokens and the seed alone, not on other photos of a batch.

    Args:
        tokens: [N, C] of one photo, without prefix and padding; any floating dtype.
        count: k, clusters at most; there are fewer where there are fewer different tokens.
        seed: of k-means++, which chooses the first centres.

    Returns:
        int64 [N], the clusters numbered in the order of their first tokens.
    """
    directions = F.normalize(tokens.float(), dim=-1)
    draws = torch.rand(count, generator=torch.Generator().manual_seed(seed)).tolist()
    centres = directions[[int(draws[0] * len(directions))]]
    for draw in draws[1:]:
        distances = (2 - 2 * (directions @ centres.mT).amax(-1)).clamp(min=_SAME).sub(_SAME)
        reach = distances.cumsum(0)
        if reach[-1] == 0:  # every token lies on a centre
            break
        chosen = int(torch.searchsorted(reach, reach[-1:] * draw, right=True).clamp(max=len(reach) - 1))
        centres = torch.cat([centres, directions[[chosen]]])
    members = (directions @ centres.mT).argmax(-1)
    for _ in range(_ITERATIONS):
        of_cluster = F.one_hot(members, len(centres)).to(directions.dtype)
        sums = of_cluster.mT @ directions
        # A centre that lost all its tokens stays where it is.
        centres = torch.where(of_cluster.any(0)[:, None], F.normalize(sums, dim=-1), centres)
        before, members = members, (directions @ centres.mT).argmax(-1)
        if torch.equal(members, before):
            break
    return _renumbered(members)


_SAME = 1e-6
"""Squared distance of unit vectors that differ by the rounding of float32 alone."""


def _renumbered(members: Tensor) -> Tensor:
    """The same clusters, numbered by the first token of each, without numbers that none has."""
    places = torch.arange(len(members), device=members.device)
    numbers = torch.unique(members)
    firsts = torch.stack([places[members == number].min() for number in numbers])
    order = numbers[firsts.argsort()]
    renumbered: Tensor = (members[:, None] == order).int().argmax(-1)
    return renumbered

"""Recall@K, size bins and mR@K against a naive implementation and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.errors import QpertError
from pipeline.retrieval import recall_report, report_from_ranks


def naive(scores, image_of_text, areas, ks):
    """Plain Python, query by query: sort with the right answers last among equals, and find their places."""
    images, texts = scores.shape
    t2i = {}
    for t in range(texts):
        order = sorted(range(images), key=lambda i: (-scores[i, t], i == image_of_text[t]))
        t2i[t] = order.index(image_of_text[t]) + 1
    i2t = {}
    for i in range(images):
        own = {t for t in range(texts) if image_of_text[t] == i}
        if own:
            order = sorted(range(texts), key=lambda t: (-scores[i, t], t in own))
            i2t[i] = min(order.index(t) for t in own) + 1

    def bin_of(area):
        if area is None or math.isnan(area) or area < 0:
            return None
        return min(int(area * 10), 9)

    result = {}
    for name, ranks, image in (("t2i", t2i, lambda q: image_of_text[q]), ("i2t", i2t, lambda q: q)):
        overall = {k: sum(r <= k for r in ranks.values()) / len(ranks) for k in ks}
        bins = []
        for b in range(10):
            members = [r for q, r in ranks.items() if bin_of(areas[image(q)]) == b]
            bins.append({k: sum(r <= k for r in members) / len(members) for k in ks} if members else {})
        means = {}
        for k in ks:
            values = [b[k] for b in bins if b]
            means[k] = None if not values else 0.0 if 0 in values else len(values) / sum(1 / v for v in values)
        result[name] = overall, bins, means, sorted(ranks.values())
    return result


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_the_naive_implementation(seed):
    rng = np.random.default_rng(seed)
    images, texts = int(rng.integers(1, 25)), int(rng.integers(1, 70))
    levels = (1, 3, 12, 10_000)[seed % 4]  # few levels: mostly ties; one: nothing else
    scores = rng.integers(0, levels, (images, texts)).astype(np.float32) / levels
    owners = rng.integers(0, images, texts)
    areas = rng.integers(-2, 101, images) / 100.0
    areas[rng.random(images) < 0.1] = np.nan
    ks = (1, 3, 10)
    report = recall_report(scores, owners, areas, ks)
    for name, (overall, bins, means, ranks) in naive(scores, owners.tolist(), areas.tolist(), ks).items():
        direction = getattr(report, name)
        assert direction.queries == len(ranks)
        assert direction.overall == pytest.approx(overall)
        assert [part.recall for part in direction.bins] == [pytest.approx(b) for b in bins]
        assert direction.mean_recall == pytest.approx(means)
        assert direction.median_rank == pytest.approx(np.median(ranks))
        assert direction.mean_rank == pytest.approx(np.mean(ranks))
        assert direction.empty_bins == tuple(i for i, b in enumerate(bins) if not b)
        assert direction.unbinned == len(ranks) - sum(part.queries for part in direction.bins)


def test_i2t_is_a_hit_rate_not_a_share_of_the_captions():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4]])
    report = recall_report(scores, [0, 0, 1], None, ks=(1,))
    assert report.i2t.overall == {1: 1.0}
    assert report.t2i.overall == {1: pytest.approx(1 / 3)}


def test_a_constant_score_finds_nothing():
    report = recall_report(np.ones((20, 100)), np.repeat(np.arange(20), 5), np.full(20, 0.05))
    assert report.overall == {"t2i": {1: 0, 5: 0, 10: 0}, "i2t": {1: 0, 5: 0, 10: 0}}
    assert report.t2i.median_rank == 20
    assert report.i2t.median_rank == 96  # the other 95 captions all tie, its own do not count
    assert report.mean_recall["t2i"] == {1: 0, 5: 0, 10: 0}


def test_negative_scores_rank_like_any_other():
    scores = -1 - np.random.default_rng(0).random((6, 6))
    np.fill_diagonal(scores, -0.5)
    assert recall_report(scores, range(6), None, ks=(1,)).overall == {"t2i": {1: 1.0}, "i2t": {1: 1.0}}


def test_mean_recall_leaves_out_empty_bins_and_a_zero_bin_makes_it_zero():
    ranks = np.array([1, 1, 9, 9], np.int64)
    report = report_from_ranks(ranks, ranks, image_of_text=range(4), areas=[0.05, 0.15, 0.15, None], ks=(1, 10))
    assert report.t2i.mean_recall == {1: pytest.approx(2 / (1 / 1 + 1 / 0.5)), 10: 1.0}
    assert report.t2i.empty_bins == (2, 3, 4, 5, 6, 7, 8, 9)
    assert report.t2i.unbinned == 1
    zero = report_from_ranks(ranks, ranks, image_of_text=range(4), areas=[0.05, 0.15, 0.25, None], ks=(1,))
    assert zero.t2i.mean_recall == {1: 0.0}
    none = report_from_ranks(ranks, ranks, image_of_text=range(4), areas=None, ks=(1,))
    assert none.t2i.mean_recall == {1: None}


def test_an_image_without_captions_is_a_distractor_but_not_a_query():
    scores = np.array([[0.5, 0.5], [0.4, 0.6], [0.9, 0.1]])
    report = recall_report(scores, [0, 1], [0.05, 0.15, 0.25], ks=(1,))
    assert report.i2t.queries == 2
    assert report.i2t.bins[2].queries == 0
    assert report.t2i.overall == {1: 0.5}  # image 2 is above image 0 for text 0


def test_takes_tensors_and_does_not_change_them():
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    before = scores.clone()
    owners = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    areas = torch.tensor([0.05, 0.25, 0.25, 0.95, 1.0])
    report = recall_report(scores, owners, areas)
    assert report == recall_report(scores.float().tolist(), owners.tolist(), areas.tolist())
    assert torch.equal(scores, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.1, np.nan]], [0, 0], [0.1]), "NaN"),
        (([0.1, 0.2], [0, 0], [0.1]), "matrix"),
        (([[0.1, 0.2]], [0], [0.1]), "one image index per text"),
        (([[0.1, 0.2]], [0, 1], [0.1]), "there are 1 images"),
        (([[0.1, 0.2]], [0, -1], [0.1]), "belongs to image -1"),
        (([[0.1, 0.2]], [0.0, 0.0], [0.1]), "integers"),
        (([[0.1, 0.2]], [0, 0], [0.1, 0.2]), "one number per image"),
        (([[0.1, 0.2]], [0, 0], [1.5]), "fractions of the photo"),
        (([[0.1, 0.2]], [0, 0], [0.1], (0, 1)), "positive"),
        (([[0.1, 0.2]], [0, 0], [0.1], ()), "positive"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(QpertError, match=message):
        recall_report(*arguments)


def test_no_text_gives_no_figures():
    report = recall_report(np.zeros((3, 0)), [], [0.1, 0.2, 0.3])
    assert report.t2i.overall == {}
    assert report.t2i.median_rank is None
    assert report.i2t.queries == 0

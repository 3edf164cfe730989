"""Bootstrap intervals: compared with a plain loop, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval import Ranks, bootstrap, report_of, resampling


def random_ranks(seed=0, images=40, most=6, bins=3):
    """Images with 0 to `most` captions in a few size bins; the captions of an image have similar ranks."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, images)
    owners = rng.permutation(np.repeat(np.arange(images), counts))
    easy = rng.random(images)
    text_ranks = rng.geometric(0.1 + 0.8 * easy[owners])
    image_ranks = np.where(counts > 0, rng.geometric(0.1 + 0.8 * easy), 0)
    return Ranks(text_ranks, image_ranks, owners, rng.integers(-1, bins, images))


def drawn_again(ranks, rows):
    """`ranks` of the images `rows`, each repeated with its queries: a naive implementation."""
    texts, owners = [], []
    for new, old in enumerate(rows):
        mine = ranks.text_ranks[ranks.image_of_text == old]
        texts.extend(mine)
        owners.extend([new] * len(mine))
    return Ranks(np.array(texts, int), ranks.image_ranks[rows], np.array(owners, int), ranks.bins[rows])


@pytest.mark.parametrize("seed", range(3))
def test_equals_reports_of_images_drawn_one_by_one(seed):
    ranks, ks, samples = random_ranks(seed), (1, 3), 120
    intervals = bootstrap(ranks, ks, samples=samples, seed=seed)
    rows = np.random.default_rng(seed).integers(0, 40, (samples, 40))
    reports = [report_of(drawn_again(ranks, images), ks) for images in rows]
    for name in ("t2i", "i2t"):
        parts, spans = [getattr(report, name) for report in reports], getattr(intervals, name)
        for k in ks:
            expected = np.quantile([part.overall[k] for part in parts], [0.025, 0.975])
            assert spans.overall[k] == pytest.approx(tuple(expected))
            for number in range(3):
                values = [part.bins[number].recall[k] for part in parts if part.bins[number].queries]
                assert spans.bins[number][k] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
            whole = [part.mean_recall[k] for part in parts if all(size_bin.queries for size_bin in part.bins[:3])]
            assert spans.mean_recall[k] == pytest.approx(tuple(np.quantile(whole, [0.025, 0.975])))
        assert all(by_k == {1: None, 3: None} for by_k in spans.bins[3:])


def test_memory_is_bounded_by_the_draws_and_they_do_not_change_the_result(monkeypatch):
    ranks = random_ranks()
    whole = bootstrap(ranks, samples=150)
    monkeypatch.setattr(resampling, "_DRAWS", 7 * 40 + 3)
    sizes = [len(rows) for rows in resampling._draws(40, 150, 0)]
    assert sizes == [7] * 21 + [3]
    assert bootstrap(ranks, samples=150) == whole
    assert bootstrap(ranks, samples=150, seed=1) != whole


def test_every_resample_draws_as_many_images_as_there_are():
    rows = np.concatenate(list(resampling._draws(50, 3000, 4)))
    assert (rows.sum(axis=1) == 50).all()
    assert rows.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert rows.var() == pytest.approx(1 - 1 / 50, abs=0.02)  # multinomial


def test_captions_that_succeed_or_fail_together_are_one_observation():
    """Five captions with one outcome: as wide as one caption each, not narrower by the square root of five."""
    hits = np.where(np.random.default_rng(0).random(400) < 0.5, 1, 9)
    one = Ranks(hits, hits, np.arange(400), np.zeros(400, int))
    five = Ranks(np.repeat(hits, 5), hits, np.repeat(np.arange(400), 5), np.zeros(400, int))
    assert bootstrap(five).t2i.overall[1] == pytest.approx(bootstrap(one).t2i.overall[1])
    low, high = bootstrap(one).t2i.overall[1]
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)  # the normal approximation


def test_the_truth_lies_inside_nearly_as_often_as_promised():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(200):
        easy = rng.beta(2, 2, 100)  # of mean 0.5; the captions of an image share it
        hits = np.where(rng.random((100, 5)) < easy[:, None], 1, 9).ravel()
        ranks = Ranks(hits, np.zeros(100, int), np.repeat(np.arange(100), 5), np.full(100, -1))
        low, high = bootstrap(ranks, (1,), samples=200, seed=trial).t2i.overall[1]
        inside += low <= 0.5 <= high
    assert 0.89 <= inside / 200 <= 0.99


def test_figures_of_one_image_or_none_have_no_interval():
    ranks = Ranks(np.array([1, 1, 5]), np.array([1, 5, 0]), np.array([0, 0, 1]), np.array([0, 1, 2]))
    intervals = bootstrap(ranks, (1,))
    assert intervals.t2i.bins[0] == {1: None}  # a single image
    assert intervals.t2i.bins[2] == {1: None}  # an image without a query
    assert intervals.t2i.overall[1] == (0, 1)
    assert intervals.i2t.mean_recall == {1: None}  # half of the resamples and more lack one of two bins of one image
    alone = Ranks(np.array([1]), np.array([1]), np.array([0]), np.array([0]))
    assert bootstrap(alone).t2i.overall == {1: None, 5: None, 10: None}
    nothing = Ranks(*(np.zeros(0, np.int64) for _ in range(4)))
    assert bootstrap(nothing).i2t.overall == {1: None, 5: None, 10: None}


def test_a_bin_without_a_hit_makes_the_mean_of_a_resample_zero():
    hits = np.array([1] * 30 + [9] * 30)
    ranks = Ranks(hits, hits, np.arange(60), np.repeat([0, 1], 30))
    assert bootstrap(ranks, (1,)).t2i.mean_recall[1] == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 99}, "at least 100"),
        ({"confidence": 95}, "such as 0.95"),
        ({"confidence": 0}, "such as 0.95"),
        ({"ks": (0,)}, "positive"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(QpertError, match=message):
        bootstrap(random_ranks(), **options)


def test_an_interval_does_not_depend_on_the_order_of_the_images():
    rng = np.random.default_rng(4)
    owners = np.repeat(np.arange(30), 2)
    names = tuple(f"{n}.jpg" for n in range(30))
    ranks = Ranks(rng.integers(1, 4, 60), rng.integers(1, 4, 30), owners, rng.integers(0, 3, 30), names)
    order = rng.permutation(30)
    texts = np.concatenate([2 * order[:, None], 2 * order[:, None] + 1], axis=1).ravel()
    shuffled = Ranks(
        ranks.text_ranks[texts], ranks.image_ranks[order], owners, ranks.bins[order], tuple(names[n] for n in order)
    )
    assert bootstrap(shuffled, samples=200) == bootstrap(ranks, samples=200)

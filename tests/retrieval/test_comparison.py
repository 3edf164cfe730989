"""Paired comparison: sign flips over photos, intervals against a plain loop, and queries that do not pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval import Ranks, aligned, compare, report_of
from pipeline.retrieval.comparison import DETECTABLE, Difference
from pipeline.retrieval.intervals import Interval
from pipeline.retrieval.sign_flips import sign_flip_p


def named(text_ranks, image_of_text, bins, image_ranks=None):
    image_ranks = np.ones(len(bins), int) if image_ranks is None else np.asarray(image_ranks)
    ids = tuple(f"{i:03d}.jpg" for i in range(len(bins)))
    return Ranks(np.asarray(text_ranks), image_ranks, np.asarray(image_of_text), np.asarray(bins), ids)


def two_sets(seed=0, images=40):
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(images), rng.integers(1, 6, images))
    bins = rng.integers(-1, 3, images)
    return [named(rng.geometric(p, len(owners)), owners, bins, rng.geometric(p, images)) for p in (0.4, 0.6)]


def shuffled(ranks, seed=1):
    """The same outcomes with the images in another order; the captions of an image keep theirs."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ranks.bins))
    place = np.argsort(order)
    texts = np.concatenate([np.flatnonzero(ranks.image_of_text == image) for image in rng.permutation(order)])
    return Ranks(
        ranks.text_ranks[texts],
        ranks.image_ranks[order],
        place[ranks.image_of_text[texts]],
        ranks.bins[order],
        tuple(ranks.image_ids[image] for image in order),
    )


def test_differences_discordant_pairs_and_p():
    first = named([1, 1, 9, 9, 1, 9], [0, 0, 0, 1, 1, 2], [0, 1, 1], [1, 9, 9])
    second = named([1, 9, 1, 1, 1, 9], [0, 0, 0, 1, 1, 2], [0, 1, 1], [1, 1, 9])
    comparison = compare(first, second, (1,))
    whole = comparison.t2i.overall[1]
    assert (whole.first, whole.second) == (3 / 6, 4 / 6)
    assert whole.difference == pytest.approx(1 / 6)
    assert (whole.gained, whole.lost, whole.p) == (2, 1, 1.0)
    # One photo lost and gained a caption, the other gained one.
    assert sign_flip_p([0, 1, 0]) == whole.p
    assert comparison.i2t.overall[1].gained == 1
    assert comparison.t2i.bins[0][1].difference == 0
    assert comparison.t2i.bins[1][1].difference == pytest.approx(1 / 3)
    assert comparison.t2i.bins[0][1].interval is None  # one image
    assert comparison.t2i.bins[2][1] == type(whole)(None, None, None, None, None, None, None)
    mean = comparison.t2i.mean_recall[1]
    reports = [report_of(ranks, (1,)).t2i.mean_recall[1] for ranks in (first, second)]
    assert [mean.first, mean.second] == pytest.approx(reports)
    assert (mean.gained, mean.lost, mean.p) == (None, None, 1.0)  # one photo that differs: either sign is as likely


def test_p_flips_photos_whole():
    """Three photos of five captions each gain all of them: one of 2 x 2 x 2 sign patterns on each side."""
    owners = np.repeat(np.arange(6), 5)
    first = named(np.where(owners < 3, 2, 1), owners, [0, 0, 1, 1, 2, 2], [2, 2, 2, 1, 1, 1])
    second = named(np.ones(30), owners, [0, 0, 1, 1, 2, 2])
    comparison = compare(first, second, (1,))
    assert (comparison.t2i.overall[1].gained, comparison.t2i.overall[1].p) == (15, 2 / 8)
    assert [by_k[1].p for by_k in comparison.t2i.bins[:4]] == [2 / 4, 1.0, 1.0, None]
    assert (comparison.i2t.overall[1].gained, comparison.i2t.overall[1].p) == (3, 2 / 8)  # McNemar's, too


def test_copies_of_a_photo_are_drawn_and_flipped_together():
    """Ten photos in three copies each, which change together: as if each copy's captions belonged to one photo."""
    rng = np.random.default_rng(8)
    hits = [np.tile(rng.random(10) < share, 3) for share in (0.4, 0.7)]
    sets = [named(np.where(found, 1, 9), np.arange(30), np.tile(np.arange(10) % 3, 3)) for found in hits]
    copies = [replace(of_set, photos=np.arange(30)[::-1] % 10) for of_set in sets]
    owners, bins = np.tile(np.arange(10), 3), np.arange(10) % 3
    whole = [named(of_set.text_ranks, owners, bins) for of_set in sets]
    # The same photos under the names of their first copies, so that the same ones are drawn.
    together, alone, expected = (compare(*pair, (1,), samples=200) for pair in (copies, sets, whole))
    assert together.t2i == expected.t2i
    assert together.t2i.overall[1].p > alone.t2i.overall[1].p
    assert together.t2i.overall[1].standard_error > 1.5 * alone.t2i.overall[1].standard_error
    assert (together.t2i.overall[1].gained, together.t2i.overall[1].first) == (
        alone.t2i.overall[1].gained,
        alone.t2i.overall[1].first,
    )


def test_the_standard_error_is_that_of_the_same_resamples():
    first, second = two_sets()
    change = compare(first, second, (1, 2), samples=130, seed=5).t2i.overall[2]
    rows = np.random.default_rng(5).integers(0, 40, (130, 40))
    differences = []
    for images in rows:
        picked = np.concatenate([np.flatnonzero(first.image_of_text == image) for image in images])
        differences.append(np.mean(second.text_ranks[picked] <= 2) - np.mean(first.text_ranks[picked] <= 2))
    assert change.standard_error == pytest.approx(np.std(differences, ddof=1))
    assert change.detectable == pytest.approx((1.959964 + 0.841621) * change.standard_error, rel=1e-6)


def test_a_difference_is_shown_if_its_interval_excludes_zero():
    def change(*ends):
        return Difference(0.5, 0.6, 0.1, Interval(*ends) if ends else None, 1, 0, 0.5, 0.01)

    assert change(0.01, 0.2).shown
    assert change(-0.2, -0.01).shown
    assert not change(-0.1, 0.2).shown
    assert not change(0, 0.2).shown
    assert not change().shown
    assert replace(change(-0.1, 0.2), standard_error=0.0).detectable is None
    assert replace(change(), standard_error=None).detectable is None


def test_the_detectable_difference_is_found_in_four_of_five_comparisons():
    """The captions of a photo change together; the true difference is what one such comparison calls detectable."""
    photos, rng = 100, np.random.default_rng(7)
    owners = np.repeat(np.arange(photos), 5)

    def comparison(gain):
        """Three photos in ten change; `gain` is the true difference."""
        changed = rng.choice([0, -1, 1], photos, p=[0.7, 0.15 - gain / 2, 0.15 + gain / 2])
        hits = np.where(changed, changed < 0, rng.random(photos) < 0.5)
        after = np.where(changed, changed > 0, hits)
        sets = [named(np.where(found[owners], 1, 9), owners, np.zeros(photos, int)) for found in (hits, after)]
        return compare(*sets, (1,), samples=100).t2i.overall[1]

    detectable = np.mean([comparison(0.0).detectable for _ in range(10)])
    assert detectable == pytest.approx(DETECTABLE * (0.3 / photos) ** 0.5, rel=0.1)
    found = np.mean([comparison(detectable).shown for _ in range(150)])
    assert 0.7 < found < 0.9


def test_the_interval_is_that_of_differences_over_the_same_resamples():
    first, second = two_sets()
    comparison = compare(first, second, (1, 2), samples=130, seed=5)
    rows = np.random.default_rng(5).integers(0, 40, (130, 40))
    for name, values in (("t2i", "text_ranks"), ("i2t", "image_ranks")):
        differences = []
        for images in rows:
            picked = images
            if name == "t2i":
                picked = np.concatenate([np.flatnonzero(first.image_of_text == image) for image in images])
            hits = [np.mean(getattr(ranks, values)[picked] <= 2) for ranks in (first, second)]
            differences.append(hits[1] - hits[0])
        expected = tuple(np.quantile(differences, [0.025, 0.975]))
        assert getattr(comparison, name).overall[2].interval == pytest.approx(expected)


def test_pairing_makes_the_interval_narrower_than_the_noise_of_either():
    first, _ = two_sets(images=100)
    second = replace(first, text_ranks=np.where(np.arange(len(first.text_ranks)) % 50, first.text_ranks, 1))
    low, high = compare(first, second, (1,)).t2i.overall[1].interval
    assert 0 <= low < high < 0.06


def test_queries_are_paired_by_name_in_any_order():
    first, second = two_sets()
    mixed = shuffled(second)
    assert mixed.image_ids != second.image_ids
    back = aligned(first, mixed)
    assert (back.text_ranks == second.text_ranks).all()
    assert (back.image_ranks == second.image_ranks).all()
    assert compare(first, mixed) == compare(first, second)


def test_nothing_differs_from_itself():
    first, _ = two_sets()
    comparison = compare(first, shuffled(first))
    for part in (comparison.t2i, comparison.i2t):
        assert {change.difference for change in part.overall.values()} == {0}
        assert {change.interval for change in part.overall.values()} == {(0, 0)}
        assert {change.p for change in part.overall.values()} == {1.0}


def test_the_first_sets_bins_are_used_and_differences_are_counted():
    first, second = two_sets()
    moved = replace(second, bins=np.where(np.arange(40) < 7, 9, second.bins))
    comparison = compare(first, shuffled(moved))
    assert comparison.other_bins == 7
    assert (comparison.t2i, comparison.i2t) == (compare(first, second).t2i, compare(first, second).i2t)
    assert compare(first, second).other_bins == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (named([1, 1], [0, 1], [0, 0]), "1 images with 2 captions only in the first .such as 002.jpg"),
        (named([1] * 5, [0, 1, 2, 2, 3], [0] * 4), "1 images with 1 captions only in the second .such as 003.jpg"),
        (named([1] * 4, [0, 0, 1, 2], [0] * 3), r"2 images have other captions, such as 000.jpg \(1 in the .*2 in"),
        (replace(named([1] * 4, [0, 1, 2, 2], [0] * 3), image_ids=()), "by the names of their images"),
        (replace(named([1] * 4, [0, 1, 2, 2], [0] * 3), image_ids=("a", "a", "b")), "one of its own"),
    ],
)
def test_other_queries_are_refused(other, message):
    with pytest.raises(QpertError, match=message):
        compare(named([1] * 4, [0, 1, 2, 2], [0] * 3), other)

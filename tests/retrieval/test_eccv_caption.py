"""The COCO 5K protocol of the package eccv-caption: 5,000 photos, 25,000 captions, the same recall to the last digit.

Needs `eccv-caption` from PyPI (it brings the ids of COCO's test split), about 300 MB of memory and some 15 seconds.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval import report_from_ranks
from pipeline.retrieval.ranks import Ranker

pytestmark = pytest.mark.filterwarnings("ignore:failed to import")  # ujson and tqdm, which it can do without

KS = (1, 5, 10)
TOP = 10
ROWS = 250
"""Photos whose scores exist at once: 250 x 25,000 doubles are 50 MB. Doubles, so that no two scores are equal."""


def best(scores, ids, top=TOP):
    """The ids [queries, top] of the highest scores [queries, candidates], best first, and the scores themselves."""
    part = np.argpartition(scores, -top, axis=1)[:, -top:]
    values = np.take_along_axis(scores, part, axis=1)
    order = np.argsort(-values, axis=1)
    part = np.take_along_axis(part, order, axis=1)
    return np.take_along_axis(np.broadcast_to(ids, scores.shape), part, axis=1), np.take_along_axis(values, order, 1)


@pytest.mark.slow
def test_agrees_exactly_with_its_coco_5k_recalls():
    metrics = pytest.importorskip("eccv_caption").Metrics()
    text_ids = metrics.coco_ids.astype(np.int64)
    image_ids = np.array(sorted(metrics.coco_gts["i2t"]), np.int64)
    rng = np.random.default_rng(0)
    rng.shuffle(image_ids)
    place = {image_id: row for row, image_id in enumerate(image_ids.tolist())}
    owners = np.array([place[metrics.coco_gts["t2i"][text_id][0]] for text_id in text_ids.tolist()])
    assert (len(image_ids), len(text_ids)) == (5000, 25_000)

    positives = 1 - rng.exponential(0.001, 25_000)
    ranker = Ranker(owners, 5000)
    ranker.set_positives(positives)
    texts_of_image = {}
    kept_ids, kept = np.zeros((25_000, 0), np.int64), np.zeros((25_000, 0))
    for first in range(0, 5000, ROWS):
        scores = rng.random((ROWS, 25_000))
        own = np.flatnonzero((owners >= first) & (owners < first + ROWS))
        scores[owners[own] - first, own] = positives[own]
        ranker.count(scores, first_image=first, first_text=0)
        best_ids, _ = best(scores, text_ids)
        texts_of_image |= dict(zip(image_ids[first : first + ROWS].tolist(), best_ids.tolist(), strict=True))
        best_ids, values = best(np.ascontiguousarray(scores.T), image_ids[first : first + ROWS])
        both_ids, both = np.hstack([kept_ids, best_ids]), np.hstack([kept, values])
        order = np.argsort(-both, axis=1)[:, :TOP]
        kept_ids, kept = np.take_along_axis(both_ids, order, 1), np.take_along_axis(both, order, 1)
    images_of_text = dict(zip(text_ids.tolist(), kept_ids.tolist(), strict=True))

    report = report_from_ranks(*ranker.ranks(), image_of_text=owners, ks=KS)
    retrieved = {"t2i": images_of_text, "i2t": texts_of_image}
    for k in KS:
        theirs = metrics.coco_5k_recalls(retrieved, "all", K=k)
        assert {name: report.overall[name][k] for name in theirs} == theirs
    assert 0.1 < report.overall["t2i"][1] < report.overall["t2i"][10] < 0.99
    assert 0.1 < report.overall["i2t"][1] < report.overall["i2t"][10] < 1

"""The measurement of ranking: simulated features, three ways in separate processes, the same recall."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipeline.benchmarks.evaluation import Sizes, fitting, measure_evaluation, write_simulated
from pipeline.benchmarks.evaluation_ways import TEXTS, image_of_text
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet

SIZES = Sizes(images=300, texts=750, vectors=3, dim=16)


@pytest.mark.slow
def test_both_ways_of_ranking_agree_and_every_cost_is_measured(tmp_path):
    costs = measure_evaluation(SIZES, tmp_path, threads=1)
    assert costs.argsort_sizes == SIZES
    assert 0.05 < costs.ranking.t2i < 0.95
    assert costs.argsort.t2i == pytest.approx(costs.ranking.t2i)
    assert costs.argsort.i2t == pytest.approx(costs.ranking.i2t)
    for cost in (costs.product, costs.product_again, costs.ranking, costs.argsort):
        assert cost.seconds > 0
        assert cost.cpu > 0
        assert 20e6 < cost.peak < 2e9
    assert costs.ratio == 2 * costs.ranking.seconds / (costs.product.seconds + costs.product_again.seconds)


def test_the_simulation_is_a_feature_set_with_texts_close_to_their_photos(tmp_path):
    write_simulated(SIZES, tmp_path / "f")
    features = FeatureSet.open(str(tmp_path / "f"))
    assert (len(features), features.vectors, features.dim) == (300, 3, 16)
    texts = np.load(tmp_path / "f" / TEXTS)
    vectors = np.concatenate([features.embeddings(block) for block in features.iter_blocks()]).astype(np.float32)
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1)
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(1, abs=1e-2)
    cosines = np.einsum("tvd,td->tv", vectors[image_of_text(300, 750)], texts).max(axis=1)
    assert cosines.mean() == pytest.approx(2**-0.5, abs=0.05)


def test_every_photo_has_texts_in_the_order_of_photos():
    owners = image_of_text(7, 17)
    assert sorted(set(owners.tolist())) == list(range(7))
    assert (np.diff(owners) >= 0).all()


def test_a_matrix_too_large_for_the_memory_is_made_smaller():
    sizes = Sizes(images=5000, texts=25000, vectors=32, dim=256)
    assert fitting(sizes, 2**34) == sizes
    smaller = fitting(sizes, 2**30 + 2**28)
    assert smaller.texts >= smaller.images
    assert 4 * smaller.images * smaller.texts <= 2**27
    assert (smaller.vectors, smaller.dim) == (32, 256)
    assert fitting(sizes, 0).images == 1


@pytest.mark.slow
def test_the_peak_is_of_this_process_only():
    """Of a process of its own: the peak of this one may be some gigabytes, which a block would have to exceed."""
    code = (
        "import numpy as np\nfrom pipeline.benchmarks.evaluation_ways import peak_memory\nbefore = peak_memory()\n"
        "block = np.ones(2 * before // 8)\nassert peak_memory() > before + block.nbytes // 2\nprint(before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 2e9


def test_photos_without_a_text_are_refused(tmp_path):
    with pytest.raises(QpertError, match="every photo needs a text"):
        measure_evaluation(Sizes(10, 5, 1, 4), tmp_path)

"""Engines find what brute force finds, and other libraries are reduced to distinct photos that are compared again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.benchmarks.search_data import SearchSizes, SimulatedPhotos
from pipeline.benchmarks.search_engines import BEST, OPENERS, Qpert, build, compared_again, ids_digest, installed
from pipeline.benchmarks.search_run import TRUTH, Task, run, write_truth
from pipeline.benchmarks.search_scan import bare_product, measure_scan
from pipeline.benchmarks.search_set import TEXTS, write_set
from pipeline.errors import QpertError

SIZES = SearchSizes(photos=300, vectors=4, dim=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("search") / "set"
    write_set(SIZES, 8, root)
    return root


@pytest.fixture(scope="module")
def texts(root):
    return np.load(root / TEXTS)


def brute_force(text: np.ndarray) -> list[int]:
    photos = np.concatenate(list(SimulatedPhotos(SIZES))).astype(np.float64)
    photos /= np.linalg.norm(photos, axis=2, keepdims=True)
    return np.argsort(-(photos @ text.astype(np.float64)).max(axis=1))[:BEST].tolist()


def ids_of(numbers: list[int]) -> list[str]:
    return [f"000000/{number:09d}.jpg" for number in numbers]


def test_the_truth_is_what_brute_force_finds(root, texts, tmp_path):
    write_truth(root, texts, tmp_path)
    assert json.loads((tmp_path / TRUTH).read_text()) == [ids_of(brute_force(text)) for text in texts]


@pytest.mark.parametrize("library", list(OPENERS))
def test_another_library_that_fetches_everything_finds_the_same(library, root, texts, tmp_path):
    if not installed(library):
        pytest.skip(f"{library} is not installed")
    folder = tmp_path / library
    build(library, root, folder)
    engine = OPENERS[library](root, folder, SIZES.photos * SIZES.vectors, 2000)
    for text in texts:
        assert engine.snapshot.photos.ids(engine.search(text)) == ids_of(brute_force(text))
    (folder / "ids.txt").write_text("another")
    with pytest.raises(QpertError, match="delete it"):
        OPENERS[library](root, folder, 10, 10)


def test_a_photo_counts_by_its_best_vector_whichever_row_was_fetched(root, texts):
    snapshot = Qpert(root).snapshot
    wanted = brute_force(texts[0])
    shuffled = np.array([*reversed(wanted), 7, 200])
    assert compared_again(snapshot, shuffled, texts[0]).tolist() == wanted
    assert ids_digest(snapshot) == ids_digest(Qpert(root, exact=True).snapshot)


def test_the_bare_product_gives_the_scores_of_brute_force(tmp_path, texts):
    photos = np.concatenate(list(SimulatedPhotos(SIZES)))
    for number, part in enumerate((photos[:100], photos[100:])):
        np.save(tmp_path / f"{number}.npy", part.reshape(-1, 32))
    scores = bare_product([tmp_path / "0.npy", tmp_path / "1.npy"], texts[0], 4)
    assert scores == pytest.approx((photos.astype(np.float32) @ texts[0]).max(axis=1), abs=1e-5)


def test_the_scan_is_measured_where_raw_vectors_are_kept(root, texts, tmp_path):
    rates = measure_scan(root, texts, repetitions=1)
    assert rates is not None
    assert rates.ratio == rates.scan / rates.product > 0


def test_a_task_reports_recall_and_all_figures(root, texts, tmp_path):
    wrong = [ids_of(brute_force(text)) for text in texts]
    wrong[0] = ["elsewhere"] * 10
    (tmp_path / TRUTH).write_text(json.dumps(wrong))
    task = Task("search", "qpert", str(root), str(root / TEXTS), str(tmp_path), queries=8, seconds=0.05)
    measure = run(task, begun=0.0)
    assert measure["recall"] == pytest.approx(7 / 8)
    assert list(measure["rates"]) == [1, 8, 32]
    assert measure["latency"]["p50"] <= measure["latency"]["p95"] <= measure["latency"]["p99"]
    assert measure["memory"]["own"] > 10**7

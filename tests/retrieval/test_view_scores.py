"""Scores of photos with several views, against loops over photos, captions and views in float64."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from pipeline.retrieval import similarity
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.similarity import bounded_blocks, vector_blocks
from pipeline.retrieval.view_scores import ViewScore
from tests.features.viewed import units, write_views

KINDS = [[], ["region"], ["tile", "tile"], ["region", "crop", "tile"], ["crop"], None, ["region"] * 5, ["cluster"]] * 3


def score_by_hand(vectors, kinds, text, views, combine, gate):
    """One photo and one text: the best of V vectors of each view, then the combination, as LARE and the paper."""
    of_view = [("whole", (vectors[0] @ text).max())]
    of_view += [(kind, (v @ text).max()) for kind, v in zip(kinds, vectors[1:], strict=True)]
    whole = of_view[0][1]
    if combine == "max":
        return max([s for kind, s in of_view if views is None or kind in views], default=whole)
    others = [s for kind, s in of_view[1:] if views is None or kind in views]
    best = max(others, default=whole)
    if combine == "sum":
        return whole + best
    if whole >= gate or best < whole:
        return whole
    share = min(2 * (best - whole), 0.5)
    return (1 - share) * whole + share * best


def rank_by_hand(scores, owners):
    """Rank of each text's photo; a tie counts against the query."""
    ranks = []
    for text, owner in enumerate(owners):
        column = scores[:, text]
        ranks.append(1 + int((np.delete(column, owner) >= column[owner] - 1e-6).sum()))
    return ranks


@pytest.mark.parametrize("views", [None, ("whole", "region"), ("tile",), ("crop", "whole")])
@pytest.mark.parametrize(("combine", "gate"), [("max", 0.25), ("sum", 0.25), ("gate", 0.5), ("gate", -1)])
@pytest.mark.parametrize("cells", [40, 1 << 23])
def test_ranks_equal_those_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views, combine, gate, cells
) -> None:
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", cells)
    features, stored = write_views(tmp_path / "f", KINDS, files=2)
    present = [(number, kinds) for number, kinds in enumerate(KINDS) if kinds is not None]
    captions = [CaptionedImage(f"{number:06d}.jpg", [f"{number}/{c}" for c in range(3)]) for number, _ in present]
    texts = units(3 * len(present), 8, seed=99)
    names = [caption for image in captions for caption in image.captions]
    evaluation = evaluate(
        features,
        captions,
        lambda wanted: texts[[names.index(name) for name in wanted]],
        views=views,
        combine=combine,
        gate=gate,
    )
    exact = texts.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    scores = np.zeros((len(present), len(texts)))
    for (row, (_, kinds)), (column, text) in itertools.product(enumerate(present), enumerate(exact)):
        vectors = stored[row].astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        scores[row, column] = score_by_hand(vectors, kinds, text, views, combine, gate)
    owners = np.repeat(np.arange(len(present)), 3)
    assert evaluation.ranks.text_ranks.tolist() == rank_by_hand(scores, owners)


def test_the_gate_as_lare_words_it() -> None:
    score = ViewScore(combine="gate", gate=0.25)
    whole, part = np.float32([0.3, 0.2, 0.2, 0.2]), np.float32([0.9, 0.1, 0.3, 0.9])
    want = [0.3, 0.2, 0.8 * 0.2 + 0.2 * 0.3, 0.5 * 0.2 + 0.5 * 0.9]
    assert score([whole, part]) == pytest.approx(want)


def test_a_set_with_one_view_per_photo(write_features) -> None:
    features = write_features(units(6, 1, 8))
    captions = [CaptionedImage(f"{n:06d}.jpg", [str(n)]) for n in range(6)]
    texts = units(6, 8, seed=1)

    def embed(wanted):
        return texts[[int(name) for name in wanted]]

    plain = evaluate(features, captions, embed)
    assert evaluate(features, captions, embed, views=("whole",)).report == plain.report
    for options, message in (
        ({"views": ("crop",)}, "has no views crop; it has: whole"),
        ({"combine": "gate"}, "no views beside the whole photo"),
        ({"views": ("nose",)}, "unknown views nose"),
        ({"views": ()}, "unknown views none"),
        ({"combine": "mean"}, "unknown combination 'mean'"),
        ({"gate": 2}, "the gate is a cosine"),
        ({"views": ("whole",), "with_objects": True}, "choose one"),
    ):
        with pytest.raises(QpertError, match=message):
            evaluate(features, captions, embed, **options)


def test_blocks_stay_small_however_many_views_a_photo_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [["tile"] * (40 if number == 7 else number % 3) for number in range(30)]
    features, stored = write_views(tmp_path / "f", many)
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 400)
    sizes, rows, seen = [], [], []
    for batch, vectors in vector_blocks(features):
        sizes.append(vectors.size)
        rows += batch["image_id"].to_pylist()
        seen += list(vectors)
    assert rows == [f"{number:06d}.jpg" for number in range(30)]
    assert sorted(sizes)[-2] <= 400
    assert max(sizes) == 41 * 2 * 8  # a photo alone that is larger than a block
    for vectors, want in zip(seen, stored, strict=True):
        exact = want.reshape(-1, 8) / np.linalg.norm(want.reshape(-1, 8), axis=-1, keepdims=True)
        np.testing.assert_allclose(vectors[: len(exact)], exact, atol=1e-6)
    assert [batch.num_rows for batch in bounded_blocks(features)] == [len(v) for _, v in vector_blocks(features)]

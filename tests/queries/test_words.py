"""The words of a search: which are feature sets, which texts; weights and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.queries.words import folder_hint, parse_box, quotes_hint, sets_and_texts, weighted


@pytest.fixture
def here(write_features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the feature sets part-1, part-2 and dogs, and a folder of photos."""
    for name in ("part-1", "part-2", "dogs"):
        write_features(np.ones((1, 1, 4)), name=name)
    (tmp_path / "photos").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web page"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sets", "texts"),
    [
        ([], [], []),
        (["part-1"], ["part-1"], []),
        (["part-1", "a dog"], ["part-1"], ["a dog"]),
        (["anything", "a dog", "a cat"], ["anything"], ["a dog", "a cat"]),
        (["part-1", "part-2", "a dog"], ["part-1", "part-2"], ["a dog"]),
        (["part-1", "part-*", "a dog"], ["part-1", "part-*"], ["a dog"]),
        (["part-1", "./part-2"], ["part-1", "./part-2"], []),
        (["part-1", "s3://bucket/part-*", "a dog"], ["part-1", "s3://bucket/part-*"], ["a dog"]),
        (["part-1", "dogs"], ["part-1", "dogs"], []),
        (["part-1", "photos"], ["part-1"], ["photos"]),
        (["part-1", "other"], ["part-1"], ["other"]),
        (["part-1", "what is this?"], ["part-1"], ["what is this?"]),
        (["part-1", "horses?"], ["part-1"], ["horses?"]),
        (["part-1", "a * b"], ["part-1"], ["a * b"]),
        (["part-1", "a black/white cat"], ["part-1"], ["a black/white cat"]),
        (["part-1", "/ slash"], ["part-1"], ["/ slash"]),
        (["part-1", "x" * 5000], ["part-1"], ["x" * 5000]),
    ],
)
def test_words_that_name_feature_sets_are_sets_and_the_others_texts(
    here: Path, words: list[str], sets: list[str], texts: list[str]
) -> None:
    assert sets_and_texts(words) == (sets, texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["part-1", "/nowhere/set"],
            "holds no features .no manifest.json.; what is meant as a text goes behind --text",
        ),
        (["part-1", "./part-3", "a dog"], "holds no features"),
        (["part-1", "lost-*", "a dog"], "no feature set fits the pattern lost-.*--text"),
        (["part-1", "photos", "part-2", "a dog"], "part-2 is a feature set, but comes after 'photos'"),
        (["part-1", "a dog", "dogs"], "dogs is a feature set, but comes after 'a dog'.*--text"),
    ],
)
def test_doubtful_words_are_refused_with_advice(here: Path, words: list[str], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        sets_and_texts(words)


def test_a_text_that_is_a_folder_without_features_gets_a_hint(here: Path) -> None:
    assert folder_hint(["a dog", "photos"]) == (
        "'photos' is searched for as a text: the folder of this name holds no features"
    )
    assert folder_hint(["a dog", "nothing here"]) is None


@pytest.mark.parametrize(
    ("word", "weight", "rest"),
    [
        ("stripes", 1, "stripes"),
        ("0.5:stripes", 0.5, "stripes"),
        (".5:stripes", 0.5, "stripes"),
        ("-2:x.jpg", -2, "x.jpg"),
        ("https://x.org/a.jpg", 1, "https://x.org/a.jpg"),
        ("2:https://x.org/a.jpg", 2, "https://x.org/a.jpg"),
        ("1:12:30 on a clock", 1, "12:30 on a clock"),
        ("a ratio of 1:2", 1, "a ratio of 1:2"),
    ],
)
def test_weights_stand_before_a_colon(word: str, weight: float, rest: str) -> None:
    assert weighted(word) == (weight, rest)


@pytest.mark.parametrize("word", ["", " ", "0.5:", "2: "])
def test_a_weight_of_nothing_is_refused(word: str) -> None:
    with pytest.raises(QpertError, match="names nothing"):
        weighted(word)


@pytest.mark.parametrize(
    "text", ["0.1,0.2,0.5,0.6", " 0.1, 0.2, 0.5, 0.6 ", "10,20,50,60%", "10%,20%,50%,60%", "10,20-50,60"]
)
def test_boxes_are_fractions_percent_or_as_hits_show_them(text: str) -> None:
    assert parse_box(text) == pytest.approx((0.1, 0.2, 0.5, 0.6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no box"),
        ("0.1,0.2,0.5", "is no box"),
        ("a,b,c,d", "is no box"),
        ("10,20,50,60", "in percent it ends with %"),
        ("0.5,0.2,0.1,0.6", "left before right"),
        ("nan,0,1,1", "left before right"),
        ("10,20-50,160", "left before right"),
    ],
)
def test_other_boxes_are_refused(text: str, message: str) -> None:
    with pytest.raises(QpertError, match=f"--box: .*{message}"):
        parse_box(text)


def test_several_unquoted_words_are_probably_one_query() -> None:
    assert quotes_hint(["a", "red", "star"]) == '3 queries of one word each; did you mean "a red star"?'
    assert quotes_hint(["a red star", "star"]) is None

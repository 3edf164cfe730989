"""From the options of a search to its queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import QpertError
from pipeline.queries.filters import Filters
from pipeline.queries.options import SearchOptions
from pipeline.queries.query import Query, Term

NONE = Filters()


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """x.jpg, y.jpg and ~/x.jpg."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / name).touch()


def asked(*texts: str, **options: Any) -> list[Query]:
    return SearchOptions(out="features", **options).asked(list(texts), NONE)


def test_every_text_is_a_query_and_gets_all_other_terms() -> None:
    queries = asked("a horse", "a cow", plus=["0.5:stripes", "a hill"], minus=["2:fence"], image=["x.jpg"], like=["7"])
    added = (
        Term(text="stripes", weight=0.5),
        Term(text="a hill"),
        Term(image="x.jpg"),
        Term(like="7"),
        Term(text="fence", weight=-2),
    )
    assert [query.terms for query in queries] == [(Term(text="a horse"), *added), (Term(text="a cow"), *added)]


def test_without_a_text_the_other_terms_are_the_query() -> None:
    (query,) = asked(image=["-0.5:~/x.jpg", "y.jpg"])
    assert query.terms == (Term(image=str(Path("~/x.jpg").expanduser()), weight=-0.5), Term(image="y.jpg"))
    assert asked() == []


def test_a_box_belongs_to_the_photo() -> None:
    for name, word in (("image", "x.jpg"), ("like", "7")):
        (query,) = asked("a dog", **{name: [word]}, box="10,20,50,60%")
        assert query.terms == (Term(text="a dog"), Term(**{name: word}, box=(0.1, 0.2, 0.5, 0.6)))  # type: ignore[arg-type]


def test_pages_begin_after_those_before_them() -> None:
    assert [query.offset for query in asked("a", page=3, k=20)] == [40]
    assert [query.offset for query in asked("a", skip=7)] == [7]
    (query,) = asked("a", k=5, min_score=0.25, fold=0.98, exact=True)
    assert query == Query((Term(text="a"),), k=5, min_score=0.25, fold=0.98, exact=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": 1, "skip": 0}, "--page and --skip both say"),
        ({"print_json": True, "format": "csv"}, "--json and --format csv are two formats"),
        ({"box": "0,0,1,1"}, "--box is a part of one photo"),
        ({"box": "0,0,1,1", "image": ["a"], "like": ["b"]}, "--box is a part of one photo"),
        ({"k": 1_000_001}, "less than or equal to 1000000"),
        ({"page": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchOptions(**({"out": "features"} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minus": ["fence"]}, "not only what they should not"),
        ({"plus": ["0.5:"]}, "'0.5:' names nothing"),
        ({"plus": ["0:a"]}, "a weight is a number other than 0"),
        ({"plus": ["a"], "minus": ["-1:fence"]}, "--minus -1:fence: what is taken away has no sign"),
        ({"image": ["x.jpg"], "box": "1,2"}, "is no box"),
        ({"image": ["x.jpg", "a dog"]}, "--image a dog: there is no such file; texts stand before --image"),
        ({"plus": ["a"], "page": 10**6}, "at most 1,000,000 photos"),
    ],
)
def test_values_that_cannot_be_understood_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        asked(**options)


def test_json_is_a_format() -> None:
    forms = [SearchOptions(out="f", **options).form for options in ({}, {"print_json": True}, {"format": "csv"})]  # type: ignore[arg-type]
    assert forms == ["table", "json", "csv"]


def test_texts_of_words_options_and_files_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\n a cat \n", encoding="utf-8")
    options = SearchOptions(out="f", texts=[" a fox"], queries=str(tmp_path / "queries.txt"))
    assert options.read_texts(["a dog "]) == ["a dog", "a fox", "a cat"]
    with pytest.raises(QpertError, match="query 2 is empty"):
        SearchOptions(out="f", texts=[" "]).read_texts(["a dog"])

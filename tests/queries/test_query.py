"""Queries and their terms: what is refused, and how they are shown."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.queries.query import MOST_PHOTOS, Query, Term, box_text

HORSE = Term(text="a horse")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a text, a photo, or the id"),
        ({"text": "a", "like": "b"}, "either a text, a photo, or the id"),
        ({"text": " \n"}, "is empty"),
        ({"text": "a", "weight": 0.0}, "a weight is a number other than 0"),
        ({"text": "a", "weight": math.nan}, "a weight is a number other than 0"),
        ({"text": "a", "weight": 1e9}, "a weight is a number other than 0"),
        ({"text": "a", "box": (0, 0, 1, 1)}, "a text has none"),
        ({"like": "a", "box": (0.5, 0, 0.5, 1)}, "a box is left,top,right,bottom"),
        ({"like": "a", "box": (0, 0, 1.01, 1)}, "a box is left,top,right,bottom"),
        ({"image": b"", "box": (0, 0, math.nan, 1)}, "a box is left,top,right,bottom"),
    ],
)
def test_terms_without_an_answer_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        Term(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"terms": ()}, "nothing to look for"),
        ({"terms": (HORSE,) * 65}, "at most 64 terms"),
        ({"terms": (Term(text="a", weight=-1),)}, "not only what they should not"),
        ({"k": 0}, "k must be at least 1"),
        ({"offset": -1}, "to skip must be at least 0"),
        ({"offset": MOST_PHOTOS}, "at most 1,000,000 photos"),
        ({"min_score": math.nan}, "not a number"),
        ({"fold": 0.0}, "folded from a cosine above 0"),
        ({"fold": 1.1}, "folded from a cosine above 0"),
    ],
)
def test_queries_without_an_answer_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        Query(**({"terms": (HORSE,)} | values))


def test_the_title_of_a_text_is_the_text_and_of_several_terms_their_sum() -> None:
    assert Query.of("a horse").title == "a horse"
    terms = (
        HORSE,
        Term(text="stripes", weight=0.5),
        Term(image="x.jpg", box=(0.1, 0.2, 0.5, 0.6)),
        Term(text="fence", weight=-1),
        Term(like="7.jpg", weight=-2),
    )
    assert Query(terms).title == (
        "a horse + 0.5 x stripes + the photo x.jpg (10,20-50,60) - fence - 2 x photos like 7.jpg"
    )
    assert Query((Term(image=b"..."),)).title == "the photo"
    assert Query((Term(text="a horse", weight=2),)).title == "2 x a horse"


def test_the_bytes_of_a_photo_are_not_shown() -> None:
    assert "secret" not in repr(Term(image=b"secret"))


def test_boxes_are_shown_in_percent() -> None:
    assert box_text((0.123, 0.2, 0.5, 1.0)) == "12,20-50,100"

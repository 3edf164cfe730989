"""What filters may be, and what is said of those that make no sense."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.cli.parsing import parse
from pipeline.errors import QpertError
from pipeline.queries.filters import Filters, time_span


class Config(Filters):
    """A command that takes filters among its options."""

    k: int = 10


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filters: Filters = Filters()


WORDS = (
    "--has dog cat --without person --smaller 0.05 --larger 0.01 --path holidays/* --min-width 640 --taken-from 2020-05"
)


def test_they_are_options_of_a_command() -> None:
    expected = Filters(
        has=("dog", "cat"), without=("person",), smaller=0.05, larger=0.01, path=("holidays/*",), min_width=640,
        taken_from="2020-05",
    )  # fmt: skip
    config = parse(Config, WORDS.split(), verb="search")
    assert config is not None
    assert Filters.of(config) == expected
    nested = parse(Nested, WORDS.replace("--", "--filters.").split(), verb="search")
    assert nested is not None
    assert nested.filters == expected
    assert Filters.model_validate_json(expected.model_dump_json()) == expected


def test_without_any_they_are_false() -> None:
    assert not Filters()
    assert Filters().shown() == ""
    assert all(Filters(**{name: value}) for name, value in {"has": "dog", "larger": 0, "min_width": 1}.items())


def test_every_filter_has_words() -> None:
    text = parse(Config, [*WORDS.split(), "--min-height", "480", "--taken-to", "2021"], verb="search")
    assert text is not None
    assert text.shown() == (
        "with dog and cat, without person, an object of at least 1 %, an object smaller than 5 %, in holidays/*,"
        " at least 640 pixels wide, at least 480 pixels high, taken from 2020-05, taken until 2021"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--smaller 0.01 --larger 0.05", "no object is at least 0.05 and smaller than 0.01 of its photo"),
        ("--smaller 0.05 --larger 0.05", "no object is at least 0.05 and smaller than 0.05"),
        ("--smaller 5", "--smaller: Input should be less than or equal to 1"),
        ("--smaller nan", "--smaller"),
        ("--taken-from 2021 --taken-to 2020", "the dates are reversed"),
        ("--taken-from yesterday", "--taken-from: write a date such as 2020, 2020-05"),
        ("--taken-from 2020-13", "--taken-from: there is no such date"),
        ("--taken-from 2020-02-30", "there is no such date"),
        ("--taken-to 2020-05-17T18:00Z", "leave out the zone"),
        ("--taken-to 17.5.2020", "write a date"),
        ("--taken-to 9999-12-31", "there is no such date"),
        ("--has dog --without DOG", "no photo is both with and without dog"),
        ("--path [z-a]", "--path: the pattern .* is not valid"),
        ("--path /", "--path: a pattern is empty"),
        ("--path {1..9999999}", "stands for more than 1,000 names"),
        (f"--path {{1..999}}{'a' * 500}", "stands for too many long names"),
        ("--min-width 0", "--min-width"),
    ],
)
def test_what_makes_no_sense_is_refused(words: str, message: str) -> None:
    with pytest.raises(QpertError, match=message.replace("+", r"\+")):
        parse(Config, words.split(), verb="search")


@pytest.mark.parametrize("bad", [{"has": [" "]}, {"has": ["a"] * 101}, {"path": ["a" * 1001]}, {"taken_from": True}])
def test_hostile_values_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Filters(**bad)


def test_yaml_and_python_have_dates_of_their_own() -> None:
    given: Any = {"taken_from": date(2020, 5, 1), "taken_to": 2021}
    filters = Filters(**given)
    assert filters.period == (datetime(2020, 5, 1), datetime(2022, 1, 1))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2020", datetime(2021, 1, 1)),
        ("2020-05", datetime(2020, 6, 1)),
        ("2020-12", datetime(2021, 1, 1)),
        ("2020-02-28", datetime(2020, 2, 29)),
        ("2020-05-17 18:03", datetime(2020, 5, 17, 18, 4)),
        ("2020-05-17T18:03:59", datetime(2020, 5, 17, 18, 4)),
        ("2020-05-17T18:03:59.5", datetime(2020, 5, 17, 18, 3, 59, 500_001)),
    ],
)
def test_a_date_stands_for_all_of_its_time(text: str, end: datetime) -> None:
    start, stop = time_span(text)
    assert stop == end
    assert start < stop

"""JSON files of data sets: read within limits and checked entry by entry, so that errors name file and entry."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.datasets.bad_entries import BadEntries
from pipeline.datasets.text_file import read_text
from pipeline.errors import QpertError

_STRING_OR_COMMA = re.compile(r'(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")|,(?=\s*[\]}])', re.DOTALL)
"""A string, which is kept, or a comma before a closing bracket."""
_MOST_DIGITS = 4300
"""Python's own limit for whole numbers in text."""

Entry = TypeVar("Entry", bound=BaseModel)


def drop_bulk(entry: dict[str, Any]) -> dict[str, Any]:
    """Remove large parts that are never used: outlines of objects, and captions split into words."""
    entry.pop("segmentation", None)
    entry.pop("tokens", None)
    return entry


def check_text(text: str, path: Path, where: str, most: int) -> str:
    """Return `text` if it is valid Unicode (terminals, tokenizers and Arrow need that) of at most `most` characters.

    Raises:
        QpertError: the text is too long or not valid Unicode; the message names file and place.
    """
    if len(text) > most:
        raise QpertError(f"{path}: {where} has {len(text)} characters, limit {most}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QpertError(f"{path}: {where} is not valid Unicode (character {error.start})") from error
    return text


def object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, as an `object_pairs_hook`.

    Raises:
        ValueError: a key is repeated, so that one of its values would be lost silently.
    """
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError(f"an object has the key {_repeated_keys(pairs)[0][:60]!a} twice")
    return data


def object_without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object in which a repeated key has the value None: which of its values is meant is unknown."""
    data = dict(pairs)
    if len(data) < len(pairs):
        data.update(dict.fromkeys(_repeated_keys(pairs)))
    return data


def _repeated_keys(pairs: list[tuple[str, Any]]) -> list[str]:
    seen: set[str] = set()
    return [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def parse_json(text: str, *, strict: bool, slim: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Any:
    """Parse JSON. NaN and Infinity, which are not JSON but common, become floats.

    Unless `strict`, commas before a closing bracket are ignored, numbers of thousands of digits are infinite, and
    repeated keys have the value None.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    if strict:
        return json.loads(text, object_pairs_hook=lambda pairs: slim(object_of_unique_keys(pairs)))

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return slim(object_without_repeated_keys(pairs))

    try:
        return json.loads(text, object_pairs_hook=keep)
    except ValueError as error:
        try:
            mended = _STRING_OR_COMMA.sub(lambda match: match["string"] or "", text)
            return json.loads(mended, object_pairs_hook=keep, parse_int=_whole_number)
        except ValueError:
            raise error from None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


def read_json(path: Path, slim: Callable[[dict[str, Any]], dict[str, Any]] = drop_bulk, *, strict: bool = True) -> Any:
    """Read a JSON file of up to `MAX_FILE_BYTES`, on one line or many, plain or compressed by gzip.

    `slim` receives every object as soon as it is read, innermost first, and returns the part to keep. So the outlines
    in `instances_val2014.json` (nine tenths of its 150 MB) exist for only one object at a time. Peak memory is about
    the file's size plus what is kept. Unless `strict`, what `open_text` and `parse_json` forgive is forgiven.

    Raises:
        QpertError: the file cannot be read, is too large, or is not valid JSON; the message names the file.
    """
    try:
        return parse_json(read_text(path, strict=strict), strict=strict, slim=slim)
    except RecursionError as error:
        raise QpertError(f"cannot read {path}: Invalid JSON: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise QpertError(f"cannot read {path}: Invalid JSON: byte {error.start} is not UTF-8") from error
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        hint = "; a file of JSON lines must be named .jsonl" if "Extra data" in str(error) else ""
        raise QpertError(f"cannot read {path}: Invalid JSON: {error}{hint}") from error


def member(data: Any, name: str, path: Path, form: str) -> list[Any]:
    """The list `name` of a JSON object.

    Raises:
        QpertError: the object does not have such a list.
    """
    if not isinstance(data, dict):
        raise QpertError(f"{path} is not {form}: it does not hold a JSON object")
    if name not in data:
        raise QpertError(f"{path} is not {form}: {name}: Field required")
    if not isinstance(data[name], list):
        raise QpertError(f"{path} is not {form}: {name}: Input should be a valid list")
    items: list[Any] = data[name]
    return items


def entries(
    items: list[Any], model: type[Entry], form: str, bad: BadEntries, field: str = ""
) -> Iterator[tuple[int, Entry]]:
    """Check the items of the list `field` one at a time, without holding a checked copy of all of them.

    Yields:
        The number of an item and the item; bad ones are left to `bad`.

    Raises:
        QpertError: an item is not a `model`, in strict reading; the message names file and item, such as
            `annotations[3].bbox`.
    """
    for number, item in enumerate(items):
        try:
            entry = model.model_validate(item)
        except ValidationError as error:
            with bad:
                raise QpertError(f"{bad.path} is not {form}: {first_problem(error, f'{field}[{number}]')}") from error
            continue
        yield number, entry


def first_problem(error: ValidationError, where: str = "") -> str:
    """The first of the problems, and how many more: `images[3].sentences[0].raw: Field required (and 2 more)`."""
    problems = error.errors(include_url=False, include_input=False)
    for part in problems[0]["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = where.lstrip(".") if len(where) <= 200 else where.lstrip(".")[:200] + "..."
    return f"{where}: {problems[0]['msg']}{more}"

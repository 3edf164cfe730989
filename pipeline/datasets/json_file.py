"""JSON files of data sets: read within limits and checked entry by entry, so that errors name file and entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import QpertError

MAX_FILE_BYTES = 2 * 1024**3
"""COCO's largest files have half a gigabyte; a larger file is not an annotation file."""

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
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {repeated[:60]!a} twice")
    return data


def read_json(path: Path, slim: Callable[[dict[str, Any]], dict[str, Any]] = drop_bulk) -> Any:
    """Read a JSON file of up to `MAX_FILE_BYTES`, on one line or many.

    `slim` receives every object as soon as it is read, innermost first, and returns the part to keep. So the outlines
    in `instances_val2014.json` (nine tenths of its 150 MB) exist for only one object at a time. Peak memory is about
    the file's size plus what is kept. NaN and Infinity, which are not JSON but common, become floats.

    Raises:
        QpertError: the file cannot be read, is too large, or is not valid JSON; the message names the file.
    """
    try:
        if path.exists() and not path.is_file():
            raise QpertError(f"cannot read {path}: it is not a file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise QpertError(f"cannot read {path}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise QpertError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise QpertError(f"cannot read {path}: Invalid JSON: byte {error.start} is not UTF-8") from error
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: slim(object_of_unique_keys(pairs)))
    except RecursionError as error:
        raise QpertError(f"cannot read {path}: Invalid JSON: nested too deeply") from error
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


def entries(items: list[Any], model: type[Entry], path: Path, form: str, field: str = "") -> Iterator[Entry]:
    """Check the items of the list `field` one at a time, without holding a checked copy of all of them.

    Raises:
        QpertError: an item is not a `model`; the message names file and item, such as `annotations[3].bbox`.
    """
    for number, item in enumerate(items):
        try:
            entry = model.model_validate(item)
        except ValidationError as error:
            raise QpertError(f"{path} is not {form}: {first_problem(error, f'{field}[{number}]')}") from error
        yield entry


def first_problem(error: ValidationError, where: str = "") -> str:
    """The first of the problems, and how many more: `images[3].sentences[0].raw: Field required (and 2 more)`."""
    problems = error.errors(include_url=False, include_input=False)
    for part in problems[0]["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = where.lstrip(".") if len(where) <= 200 else where.lstrip(".")[:200] + "..."
    return f"{where}: {problems[0]['msg']}{more}"

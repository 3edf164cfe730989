"""JSON files of data sets: read within bounds, and checked entry by entry, so that an error names file and entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import QpertError

MAX_FILE_BYTES = 2 * 1024**3
"""COCO's largest files have half a gigabyte; more than this is something else."""

Entry = TypeVar("Entry", bound=BaseModel)


def drop_bulk(entry: dict[str, Any]) -> dict[str, Any]:
    """Take out what is large and never used: outlines of objects, captions cut into words."""
    entry.pop("segmentation", None)
    entry.pop("tokens", None)
    return entry


def check_text(text: str, path: Path, where: str, most: int) -> str:
    """The text, if it is one that a terminal, a tokenizer and Arrow can take, of at most so many characters.

    Raises:
        QpertError: it is not; the message names file and place.
    """
    if len(text) > most:
        raise QpertError(f"{path}: {where} has {len(text)} characters, limit {most}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QpertError(f"{path}: {where} is not valid Unicode (character {error.start})") from error
    return text


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different.

    Raises:
        ValueError: two are the same, so that one value would be lost without a word.
    """
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {twice[:60]!a} twice")
    return data


def read_json(path: Path, slim: Callable[[dict[str, Any]], dict[str, Any]] = drop_bulk) -> Any:
    """The content of a JSON file of any size that data sets have, be it one line or many.

    `slim` gets every object as soon as it is read, the innermost first, and gives what to keep of it: so the outlines
    in `instances_val2014.json` (nine tenths of its 150 MB) exist for one object at a time. Peak memory is about the
    file's size plus what is kept. NaN and Infinity, which JSON does not have but people write, become floats.

    Raises:
        QpertError: it cannot be read, is too large, or is not JSON; the message names the file.
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
        return json.loads(text, object_pairs_hook=lambda pairs: slim(once(pairs)))
    except RecursionError as error:
        raise QpertError(f"cannot read {path}: Invalid JSON: nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        hint = "; JSON lines need a name that ends in .jsonl" if "Extra data" in str(error) else ""
        raise QpertError(f"cannot read {path}: Invalid JSON: {error}{hint}") from error


def member(data: Any, name: str, path: Path, form: str) -> list[Any]:
    """The list `name` of a JSON object.

    Raises:
        QpertError: there is none.
    """
    if not isinstance(data, dict):
        raise QpertError(f"{path} is not {form}: it holds no JSON object")
    if name not in data:
        raise QpertError(f"{path} is not {form}: {name}: Field required")
    if not isinstance(data[name], list):
        raise QpertError(f"{path} is not {form}: {name}: Input should be a valid list")
    items: list[Any] = data[name]
    return items


def entries(items: list[Any], model: type[Entry], path: Path, form: str, field: str = "") -> Iterator[Entry]:
    """Check the items of the list `field` one at a time: hundreds of thousands of checked copies are never in memory.

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
    """`images[3].sentences[0].raw: Field required (and 2 more)`."""
    problems = error.errors(include_url=False, include_input=False)
    for part in problems[0]["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = where.lstrip(".") if len(where) <= 200 else where.lstrip(".")[:200] + "..."
    return f"{where}: {problems[0]['msg']}{more}"

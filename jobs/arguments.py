"""From a pydantic model to command-line options, and from words and YAML to a checked model.

Nested models become dotted options (``--detector.confidence 0.3``). What the fields may say in ``json_schema_extra``:

    positional: True     the value is given by its place: ``qpert index PHOTOS``
    flag: "-k"           a short name
    short: "model"       on a nested model: ``--detector NAME`` sets its field ``model``
"""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from jobs.config_file import read_yaml
from jobs.fields import Option, dashes, members, options
from pipeline.errors import QpertError
from pipeline.printing import is_printable

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], words: list[str], *, verb: str, help_text: str = "") -> Model | None:
    """The checked configuration of `verb`, or None when the words asked for something to be printed instead.

    Raises:
        QpertError: an unknown option, an unknown key in the YAML file, or values that the model refuses.
    """
    parser = _parser(model, verb, help_text)
    found, unknown = parser.parse_known_intermixed_args(_joined([dashes(word) for word in words], model))
    if unknown:
        raise QpertError(_unknown(model, unknown[0], verb))
    given = vars(found)
    values = read_yaml(given.pop("config"), model) if given.get("config") else {}
    show = given.pop("print_config", False)
    for name, value in given.items():
        _set(values, name.split("."), value)
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        raise QpertError("\n       ".join(_lines(error, model)) + f"\n       (qpert {verb} --help)") from error
    if show:
        print(_as_yaml(config), end="")
        return None
    return config


def _as_yaml(config: BaseModel) -> str:
    """With escapes wherever something could not be printed as it is: what is read back is the same."""
    encoding = sys.stdout.encoding
    plain, escaped = (
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=allow) for allow in (True, False)
    )
    return plain if all(c == "\n" or is_printable(c, encoding) for c in plain) else escaped


def _parser(model: type[BaseModel], verb: str, help_text: str) -> argparse.ArgumentParser:
    every = list(options(model))
    places = [option for option in every if option.extra.get("positional")]
    usage = " ".join([f"qpert {verb}", *(_metavar(option) for option in places), "[--option value ...]"])
    parser = argparse.ArgumentParser(
        prog=f"qpert {verb}",
        usage=usage,
        description=textwrap.dedent(help_text),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    arguments = parser.add_argument_group("arguments") if places else parser
    for option in places:
        # Optional for argparse, because the value may come from the YAML file; pydantic says when it is missing.
        keywords = _keywords(option)
        arguments.add_argument(option.name, **keywords | {"nargs": "*" if "nargs" in keywords else "?"})
    main = parser.add_argument_group("options")
    groups = {"": main}
    short_for: dict[str, str] = {}
    for option in every:
        if option in places:
            continue
        owner, _, _ = option.name.rpartition(".")
        if option.nested is not None:
            groups[option.name] = parser.add_argument_group(f"options of {option.name}", option.field.description)
            short_for[option.target] = dashes(f"--{option.name}")
            continue
        names = [option.extra.get("flag"), short_for.get(option.name), dashes(f"--{option.name}")]
        groups[owner].add_argument(*filter(None, names), dest=option.name, **_keywords(option))
    main.add_argument("--config", metavar="FILE", help="YAML file with any of these fields; the command line wins")
    main.add_argument("--print-config", action="store_true", help="print the whole configuration as YAML and stop")
    return parser


def _keywords(option: Option) -> dict[str, Any]:
    """How argparse takes and explains the option; values stay text, for pydantic to convert and check."""
    field = option.field
    parts = members(field.annotation)
    text = (field.description or "").replace("%", "%%")
    if not field.is_required() and field.default_factory is None and field.default not in (None, PydanticUndefined):
        text += f" (default: {_show(field.default)})"
    if field.is_required() and not option.extra.get("positional"):
        text += " (required)"
    if bool in parts:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    words: dict[str, Any] = {"help": text, "metavar": _metavar(option)}
    if any(get_origin(part) in (list, tuple) for part in parts):
        words["nargs"] = "+"
    return words


def _metavar(option: Option) -> str:
    parts = [part for part in members(option.field.annotation) if part is not type(None)]
    if option.extra.get("positional"):
        return option.name.upper()
    choices = [str(choice) for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return "{" + ",".join(choices) + "}"
    numbers = {int: "N", float: "X"}
    text = "PATH" if option.is_path else "TEXT"
    return next((numbers[part] for part in parts if part in numbers), text if str in parts else "VALUE")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _joined(words: list[str], model: type[BaseModel]) -> list[str]:
    """`--weight -area` as `--weight=-area`: argparse would take a choice with a dash for another option."""
    dashed = {
        dashes(f"--{option.name}"): [str(each) for part in members(option.field.annotation) for each in get_args(part)]
        for option in options(model)
    }
    joined: list[str] = []
    for word in words:
        if joined and word.startswith("-") and word in dashed.get(joined[-1], ()):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _set(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a dotted name; a value in between that is not a mapping gives way."""
    for name in path[:-1]:
        inner = values.get(name)
        values[name] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[name]
    values[path[-1]] = value


def _unknown(model: type[BaseModel], word: str, verb: str) -> str:
    if not word.startswith("-"):
        return f"did not expect {word!r}; put quotes around a text of several words (qpert {verb} --help)"
    names = [dashes(f"--{option.name}") for option in options(model)] + ["--config", "--print-config"]
    near = difflib.get_close_matches(word.partition("=")[0], names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"see qpert {verb} --help"
    return f"unknown option {word}; {hint}"


def _lines(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line per complaint, each naming the option."""
    places = {option.name for option in options(model) if option.extra.get("positional")}
    flags = {option.name: str(option.extra.get("flag") or "") for option in options(model)}
    for problem in error.errors():
        # Parts of the location that are not field names (union members, list positions) help nobody.
        path = _field_path(model, [str(part) for part in problem["loc"]])
        flag = flags.get(path, "")
        name = path.upper() if path in places else flag if flag.startswith("--") else dashes(f"--{path}")
        if problem["type"] == "missing":
            yield f"{name} is missing"
        elif not path:
            yield problem["msg"].removeprefix("Value error, ")
        else:
            yield f"{name}: {problem['msg'].removeprefix('Value error, ')}, not {problem['input']!r}"


def _field_path(model: type[BaseModel], location: list[str]) -> str:
    names = {option.name for option in options(model)}
    path = ""
    for part in location:
        longer = f"{path}.{part}".lstrip(".")
        path = longer if longer in names else path
    return path

"""From words and YAML to the checked configuration of a command.

A command's options are the fields of its pydantic model; nested models become dotted options
(``--detector.confidence 0.3``). What a field may say in ``json_schema_extra``:

    positional: True     the value is given by its place: ``qpert index PHOTOS``
    flag: "-k"           a further name
    alias: "--count"     a name of earlier versions, still understood, also in YAML
    adds: True           given again, it adds values to those before: ``--has dog --has cat``
    short: "model"       on a nested model: ``--detector NAME`` sets its field ``model``
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from jobs.cli.fields import Option, options
from jobs.cli.messages import did_you_mean
from jobs.cli.yaml_file import read_yaml
from pipeline.errors import QpertError
from pipeline.printing import is_printable

Model = TypeVar("Model", bound=BaseModel)
Options = Mapping[str, Option]
"""By dotted name."""


def parse(model: type[Model], words: list[str], *, verb: str, help_text: str = "") -> Model | None:
    """The checked configuration of `verb`, or None when the words asked for it to be printed instead.

    Raises:
        QpertError: an unknown option, an unknown key in the YAML file, or values that the model refuses.
    """
    known = {option.name: option for option in options(model)}
    try:
        found, unknown = build_parser(known, verb, help_text).parse_known_intermixed_args(_normalised(words, known))
    except argparse.ArgumentError as error:  # such as an option without its value
        raise QpertError(f"{error} (qpert {verb} --help)") from error
    if unknown:
        raise QpertError(_unknown(unknown[0], known, verb))
    given = vars(found)
    file, show = given.pop("config", None), given.pop("print_config", False)
    values = read_yaml(file, known) if file else {}
    try:
        config = model.model_validate(_nested(values | given))
    except ValidationError as error:
        raise QpertError("\n       ".join([*_complaints(error, known), f"(qpert {verb} --help)"])) from error
    if show:
        print(_as_yaml(config), end="")
        return None
    return config


def build_parser(
    known: Options,
    verb: str,
    help_text: str,
    added: Callable[[Option | None, argparse.Action], object] = lambda option, action: None,
) -> argparse.ArgumentParser:
    """The parser of a command.

    Args:
        known: its options.
        verb: its name.
        help_text: the text above the options.
        added: is called with each option and what argparse makes of it; with None for the file of `--config`.
    """
    arguments = [option for option in known.values() if "positional" in option.extra]
    parser = argparse.ArgumentParser(
        prog=f"qpert {verb}",
        usage=" ".join([f"qpert {verb}", *(option.shown for option in arguments), "[--option value ...]"]),
        description=textwrap.dedent(help_text),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    places = parser.add_argument_group("arguments") if arguments else parser
    groups = {"": parser.add_argument_group("options")}
    for option in known.values():
        if option in arguments:
            # Optional for argparse, because the value may come from the YAML file; pydantic says when it is missing.
            added(option, places.add_argument(option.name, **_keywords(option, one="?", several="*")))
        elif option.nested is not None:
            groups[option.name] = parser.add_argument_group(f"options of {option.name}", option.field.description)
        else:
            group = groups[option.name.rpartition(".")[0]]
            added(option, group.add_argument(*option.flags, dest=option.name, **_keywords(option)))
    file = groups[""].add_argument("--config", metavar="FILE", help="YAML file of these options; the command line wins")
    added(None, file)
    groups[""].add_argument("--print-config", action="store_true", help="print all options as YAML and stop")
    return parser


def _keywords(option: Option, one: str | None = None, several: str = "+") -> dict[str, Any]:
    """How argparse takes and explains the option; values stay text, for pydantic to convert and check."""
    text = (option.field.description or "").replace("%", "%%")
    if option.field.is_required() and "positional" not in option.extra:
        text += " (required)"
    elif option.default:
        text += f" (default: {option.default})"
    if bool in option.types:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    keywords = {"help": text, "metavar": option.metavar, "nargs": several if option.takes_several else one}
    return keywords | ({"action": "extend"} if "adds" in option.extra else {})


def _normalised(words: list[str], known: Options) -> list[str]:
    """Options with dashes instead of underscores, and `--weight -area` as `--weight=-area`.

    argparse would take a choice that begins with a dash for another option.
    """
    choices = {option.flag: option.choices for option in known.values()}
    result: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if result and word.startswith("-") and word in choices.get(result[-1], ()):
            result[-1] += f"={word}"
        else:
            result.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return result


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested dictionaries; a value in between that is not a dictionary gives way."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        inner = result
        for part in outer:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[last] = value
    return result


def _unknown(word: str, known: Options, verb: str) -> str:
    if not word.startswith("-"):
        return f"did not expect {word!r}; put quotes around a text of several words (qpert {verb} --help)"
    names = [*(option.flag for option in known.values()), "--config", "--print-config"]
    return f"unknown option {word}; {did_you_mean(word.partition('=')[0], names, f'see qpert {verb} --help')}"


def _complaints(error: ValidationError, known: Options) -> Iterator[str]:
    """One line per problem, each naming the option."""
    for problem in error.errors():
        path = ""
        for part in problem["loc"]:  # union members and list positions are not fields, and help nobody
            longer = f"{path}.{part}".lstrip(".")
            path = longer if longer in known else path
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            yield f"{known[path].shown} is missing"
        else:
            yield f"{known[path].shown}: {message}, not {problem['input']!r}" if path else message


def _as_yaml(config: BaseModel) -> str:
    """YAML that reads back as the same; escaped as a whole where a character could not be printed."""
    encoding = sys.stdout.encoding
    plain, escaped = (
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=allow) for allow in (True, False)
    )
    return plain if all(c == "\n" or is_printable(c, encoding) for c in plain) else escaped

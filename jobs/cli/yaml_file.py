"""The YAML file of ``--config``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from jobs.cli.fields import Option
from jobs.cli.messages import did_you_mean
from pipeline.errors import QpertError


def read_yaml(path: str, known: Mapping[str, Option]) -> dict[str, Any]:
    """The values in a YAML file by the dotted names of the options.

    Raises:
        QpertError: it cannot be read, is not YAML, or has a name that is not among the `known` options.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QpertError(f"cannot read --config {path}: {error}") from error
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise QpertError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise QpertError(f"{path} must hold names and values, such as 'out: features'")
    return dict(_flat(values, known, path))


def _flat(values: Mapping[str, Any], known: Mapping[str, Option], path: str, outer: str = "") -> Iterator[Any]:
    """Pairs of a dotted name and its value; ``detector: yolo11n.pt`` becomes `detector.model`."""
    for key, value in values.items():
        name = f"{outer}{key}".replace("-", "_")
        option = known.get(name) or next((option for option in known.values() if option.alias == f"--{name}"), None)
        if option is None:
            raise QpertError(f"{path}: unknown key {outer}{key}; {_hint(name, known)}")
        if option.nested is not None and isinstance(value, Mapping):
            yield name, {}
            yield from _flat(value, known, path, f"{name}.")
        elif isinstance(value, bool) and bool not in option.types:
            # YAML reads yes, no, on and off as truth values, and a truth value would pass for the number 1.
            raise QpertError(f"{path}: {outer}{key} is not a switch; write its value, not {str(value).lower()}")
        elif value is None and "short" in option.extra and type(None) not in option.types:
            yield option.target, "none"
        elif isinstance(value, str) and option.takes_several and str not in option.types:
            yield option.target, [value]  # one alone needs no list, as on the command line
        else:
            yield option.name if value is None else option.target, value


def _hint(name: str, known: Mapping[str, Option]) -> str:
    outer = name[: name.rfind(".") + 1]
    siblings = [other for other in known if other.rpartition(".")[0] == outer[:-1]]
    if not siblings:
        outer, siblings = "", [*known]
    inner = [other.removeprefix(outer) for other in siblings]
    return did_you_mean(name.removeprefix(outer), inner, f"known: {', '.join(siblings)}", prefix=outer)

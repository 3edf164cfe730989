"""Reading a verb's YAML file: unknown names are refused, short forms are written out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from jobs.fields import members, options
from pipeline.errors import QpertError


def read_yaml(path: str, model: type[BaseModel]) -> dict[str, Any]:
    """The values in a YAML file, nested as `model` is.

    Raises:
        QpertError: it cannot be read, is not YAML, or has a name that the model does not know.
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
    return _expand(values, model, path)


def _expand(values: Mapping[str, Any], model: type[BaseModel], path: str, prefix: str = "") -> dict[str, Any]:
    """Refuse unknown names, and write short forms out: ``detector: yolo11n.pt`` becomes ``detector: {model: ...}``."""
    known = {option.name: option for option in options(model) if "." not in option.name}
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        outer, dot, inner = name.partition(".")
        if dot and outer in known and known[outer].nested is not None:  # as on the command line
            name, value = outer, {inner: value, **_mapping(result.get(outer))}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            names = ", ".join(prefix + each for each in known)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {names}"
            raise QpertError(f"{path}: unknown key {prefix}{key}; {hint}")
        option = known[name]
        if option.nested is not None and isinstance(value, Mapping):
            value = _expand(value, option.nested, path, f"{prefix}{name}.")
        elif option.nested is not None and "short" in option.extra:
            if value is not None or type(None) not in members(option.field.annotation):
                value = {option.extra["short"]: "none" if value is None else value}
        elif isinstance(value, bool) and bool not in members(option.field.annotation):
            # YAML reads yes, no, on and off as truth values, and a truth value would pass for the number 1.
            raise QpertError(f"{path}: {prefix}{key} is no switch; write its value, not {str(value).lower()}")
        result[name] = value
    return result


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}

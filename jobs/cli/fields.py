"""The fields of a command's configuration as options of the command line and of YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.io.paths import CHECKS


class Option:
    """One field of a model, or of a model nested in it.

    Attributes:
        name: dotted, with underscores.
        field: the field itself.
        types: the members of its type's union, without what `Annotated` adds.
        nested: the model among them, if there is one.
        choices: the values of a `Literal` among them, as words.
        is_path: whether its type is one of `pipeline.io.paths`.
        extra: what its `json_schema_extra` says; `jobs.cli.parsing` lists the keys.
        flag: ``--inner.max-objects``.
        alias: a name of earlier versions that is still understood, also in YAML (without its dashes).
        flags: all its names: a further one, that of the model whose plain value it is, `flag`, `alias`.
        target: the name of the field that a plain value sets: ``--detector yolo11n.pt`` sets `detector.model`.
        shown: how messages call it: ``SOURCE`` for an argument, ``--top-k`` for an option.
    """

    def __init__(self, name: str, field: FieldInfo, outer: Option | None = None) -> None:
        self.name = name
        self.field = field
        self.types = members(field.annotation)
        models = [part for part in self.types if isinstance(part, type) and issubclass(part, BaseModel)]
        self.nested = models[0] if models else None
        self.choices = [str(choice) for part in self.types if get_origin(part) is Literal for choice in get_args(part)]
        metadata = [*field.metadata]
        for part in get_args(field.annotation):
            metadata += getattr(part, "__metadata__", ())
        self.is_path = any(isinstance(extra, AfterValidator) and extra.func in CHECKS for extra in metadata)
        extra = field.json_schema_extra
        self.extra: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
        self.flag = f"--{name.replace('_', '-')}"
        self.target = f"{name}.{self.extra['short']}" if "short" in self.extra else name
        further = str(self.extra.get("flag", ""))
        self.shown = name.upper() if "positional" in self.extra else further if further[:2] == "--" else self.flag
        short_form = outer.flag if outer is not None and outer.target == name else ""
        self.alias = str(self.extra.get("alias", ""))
        self.flags = [flag for flag in (further, short_form, self.flag, self.alias) if flag]

    @property
    def metavar(self) -> str:
        """What help shows in place of a value: ``N``, ``PATH``, ``{paper,released,none}``."""
        if "positional" in self.extra:
            return self.shown
        if self.choices:
            return "{" + ",".join(self.choices) + "}"
        words = {int: "N", float: "X", str: "PATH" if self.is_path else "TEXT"}
        return next((words[part] for part in self.types if part in words), "VALUE")

    @property
    def default(self) -> str:
        """The default as help shows it; empty without one that says anything."""
        default = self.field.default
        if default is PydanticUndefined or default in (None, []):
            return ""
        if isinstance(default, bool):
            return ("off", "on")[default]
        return ", ".join(map(str, default)) if isinstance(default, tuple | list) else str(default)

    @property
    def takes_several(self) -> bool:
        """Whether it takes several values."""
        return any(get_origin(part) in (list, tuple) for part in self.types)


def options(model: type[BaseModel], outer: Option | None = None) -> Iterator[Option]:
    """All fields of `model`, depth first; a nested model comes before its fields.

    Args:
        model: the configuration of a command.
        outer: the option whose nested model it is, if it is one.
    """
    prefix = "" if outer is None else f"{outer.name}."
    for name, field in model.model_fields.items():
        option = Option(prefix + name, field, outer)
        yield option
        if option.nested is not None:
            yield from options(option.nested, option)


def members(annotation: Any) -> list[Any]:
    """The members of a union, or the annotation alone, each without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for part in get_args(annotation) for inner in members(part)]
    return [annotation]

"""The fields of a verb's configuration, as command-line and YAML names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from pipeline.io.paths import CHECKS


@dataclass(frozen=True)
class Option:
    """One field of the model, or of a model within it."""

    name: str
    field: FieldInfo
    nested: type[BaseModel] | None

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the field says in `json_schema_extra`."""
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, Mapping) else {}

    @property
    def is_path(self) -> bool:
        """Whether it names a file or folder: by its type, one of `pipeline.io.paths`."""
        annotation: Any = self.field.annotation
        parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
        metadata = [*self.field.metadata, *(extra for part in parts for extra in getattr(part, "__metadata__", ()))]
        return any(isinstance(extra, AfterValidator) and extra.func in CHECKS for extra in metadata)

    @property
    def target(self) -> str:
        """The name of the field that a value given to this option sets."""
        return f"{self.name}.{self.extra['short']}" if "short" in self.extra else self.name


def options(model: type[BaseModel], prefix: str = "") -> Iterator[Option]:
    """All fields of `model`, depth first; a nested model comes before its fields."""
    for name, field in model.model_fields.items():
        nested = next((part for part in members(field.annotation) if is_model(part)), None)
        yield Option(prefix + name, field, nested)
        if nested is not None:
            yield from options(nested, f"{prefix}{name}.")


def dashes(word: str) -> str:
    """Options may be written with underscores, as in YAML."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def members(annotation: Any) -> list[Any]:
    """The members of a union, or the annotation alone, each without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for part in get_args(annotation) for inner in members(part)]
    return [annotation]


def is_model(annotation: Any) -> bool:
    """Whether the annotation is a pydantic model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)

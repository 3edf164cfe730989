"""The one gate for what model folders from outside say: plain values under known names, and nothing that leads to code.

Every loader (open_clip, transformers, LAVIS, InternVL, ultralytics) reads JSON by `read_json` and hands on only what a
`Plain` model or another list of its own allows. Weights are safetensors, or opened with `weights_only=True`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError

LARGEST_JSON = 64 * 1024**2
"""Bytes; the tokenizer.json of the largest vocabularies has half of that."""
CODE_KEYS = frozenset(
    {
        "trust_remote_code", "auto_map", "custom_code", "custom_pipelines", "custom_generate", "code_revision",
        "custom_objects", "quantization_config", "base_model_name_or_path", "gguf_file", "_target_", "py/object",
        "py/reduce", "module_path", "import_path",
    }
)  # fmt: skip
"""Keys by which libraries are led to code, or to other models, wherever they stand. Refused whatever their value."""
PICKLES = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib", ".npy", ".npz", ".msgpack", ".h5", ".keras",
)  # fmt: skip
"""Files of weights that can hold code."""
_JSON_FILES = (
    "config.json", "generation_config.json", "open_clip_config.json", "preprocessor_config.json",
    "processor_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_ADVICE = "no code of model folders is run, and there is no option to allow it: remove it, or use another model"

Size = Annotated[int, Field(strict=True, ge=1, le=2**20)]
"""A width, a length, a number of words."""
Count = Annotated[int, Field(strict=True, ge=1, le=1024)]
"""A number of layers or heads."""
Index = Annotated[int, Field(strict=True, ge=0, le=2**20)]
"""A token id."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Activation = Literal["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish"]

Model = TypeVar("Model", bound="Plain")


class Plain(BaseModel):
    """Values of a config that a library is given; a key without a field is refused (some subclasses pass it over)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def of(cls: type[Model], values: object, where: str) -> Model:
        """Checked.

        Raises:
            QpertError: unknown keys, or values of another type or range, by name.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "its content"
            if first["type"] == "extra_forbidden":
                raise QpertError(f"{where}: {key!r} is not among the keys that are read here; remove it") from None
            raise QpertError(f"{where}: {key} cannot be {str(first['input'])[:60]!r}: {first['msg']}") from None

    def given(self) -> dict[str, Any]:
        """Only what the config says itself, so that all else stays the library's default."""
        return self.model_dump(exclude_unset=True)


def read_json(path: Path, *, known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        known: entries of an `auto_map` that a published model is known to have, and that nothing here reads.

    Raises:
        QpertError: a key in it leads to code.
        OSError, ValueError: not such a file, or too large.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path.name} has more than {LARGEST_JSON // 1024**2} MB: that is no configuration")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    refuse_code(found, str(path), known=known)
    return found


def refuse_code(values: object, where: str, *, known: Mapping[str, str] | None = None) -> None:
    """Refuse keys that lead to code, at any depth.

    Raises:
        QpertError: which key, and where.
    """
    waiting: list[tuple[str, object]] = [("", values)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in CODE_KEYS and not (key == "auto_map" and _within(inner, known or {})):
                    raise QpertError(f"{where} asks for {place}{key} = {str(inner)[:80]!r}: {_ADVICE}")
                if "attn_implementation" in key and isinstance(inner, str) and "/" in inner:
                    raise QpertError(f"{where} asks for a kernel from the hub, {place}{key} = {inner!r}: {_ADVICE}")
                waiting.append((f"{place}{key}.", inner))
        elif isinstance(value, list):
            waiting += [(place, inner) for inner in value]


def _within(values: object, known: Mapping[str, str]) -> bool:
    return isinstance(values, dict) and all(name in known and known[name] == value for name, value in values.items())


def check_configurations(folder: Path, *, known: Mapping[str, str] | None = None) -> None:
    """Refuse a model folder one of whose configurations leads to code, whether or not the loader would read it.

    Raises:
        QpertError: which file, and which key in it.
        OSError, ValueError: a file is damaged.
    """
    for name in _JSON_FILES:
        if (folder / name).is_file():
            read_json(folder / name, known=known)
    if (folder / "adapter_config.json").exists():
        raise QpertError(f"{folder} has an adapter_config.json, which leads to another model: merge the adapter first")


def refuse_pickles(folder: Path, wanted: str) -> None:
    """Say of a folder without `wanted` which of its files would be opened instead by other programs, and why not here.

    Raises:
        QpertError: there is a pickle.
    """
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if found and not (folder / wanted).exists():
        raise QpertError(
            f"{folder} has no {wanted}, and {found[0]} is not opened: pickles ({', '.join(PICKLES[:6])}, ...) can run"
            " code. Save the weights as safetensors"
        )


def check_shards(index: Path) -> dict[str, str]:
    """`weight_map` of an index of safetensors: weight -> name of a file beside the index.

    Raises:
        QpertError: it names files elsewhere, or of another kind.
        OSError, ValueError: it cannot be read.
    """
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{index.name} has no weight_map")
    for name in found.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise QpertError(
                f"{index} names {name!r}: only .safetensors files beside it are opened; pickles (.bin, .pt, .pth, ...)"
                " can run code"
            )
    return found

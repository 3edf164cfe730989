"""Safe reading of model folders from outside: plain values under known keys, and nothing that leads to code.

Every loader (open_clip, transformers, LAVIS, InternVL, ultralytics) reads JSON with `read_json` and passes on only what
a `Plain` model, or another allowlist, permits. Weights are safetensors, or are opened with `weights_only=True`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError

LARGEST_JSON = 64 * 1024**2
"""Bytes; the tokenizer.json of the largest vocabularies takes half of that."""
CODE_KEYS = frozenset(
    {
        "trust_remote_code", "auto_map", "custom_code", "custom_pipelines", "custom_generate", "code_revision",
        "custom_objects", "quantization_config", "base_model_name_or_path", "gguf_file", "_target_", "py/object",
        "py/reduce", "module_path", "import_path",
    }
)  # fmt: skip
"""Keys that lead libraries to code or to other models. Refused at any depth, with any value."""
PICKLES = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib", ".npy", ".npz", ".msgpack", ".h5", ".keras",
)  # fmt: skip
"""Suffixes of weights that can contain code."""
_JSON_FILES = (
    "config.json", "generation_config.json", "open_clip_config.json", "preprocessor_config.json",
    "processor_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_ADVICE = "code from model folders is never run, and no option allows it: remove it, or use another model"

Size = Annotated[int, Field(strict=True, ge=1, le=2**20)]
"""A width, a length, or a vocabulary size."""
Count = Annotated[int, Field(strict=True, ge=1, le=1024)]
"""A number of layers or heads."""
Index = Annotated[int, Field(strict=True, ge=0, le=2**20)]
"""A token id."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Activation = Literal["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish"]

Model = TypeVar("Model", bound="Plain")


class Plain(BaseModel):
    """Values of a configuration for a library; keys without a field are refused (some subclasses ignore them)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def of(cls: type[Model], values: object, where: str) -> Model:
        """Validate `values`, which come from `where`.

        Raises:
            QpertError: names an unknown key, or a value of the wrong type or range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "its content"
            if first["type"] == "extra_forbidden":
                raise QpertError(f"{where}: {key!r} is not a supported key; remove it") from None
            raise QpertError(f"{where}: {key} cannot be {str(first['input'])[:60]!r}: {first['msg']}") from None

    def given(self) -> dict[str, Any]:
        """Only the values that the configuration states, so that the others keep the library's defaults."""
        return self.model_dump(exclude_unset=True)


def read_json(path: Path, *, known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: the file.
        known: `auto_map` entries that a published model is known to have; they are not used here.

    Raises:
        QpertError: a key leads to code.
        OSError, ValueError: the file cannot be read, is not a JSON object, or is too large.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path.name} has more than {LARGEST_JSON // 1024**2} MB: it is not a configuration")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} does not hold a JSON object")
    refuse_code(values, str(path), known=known)
    return values


def refuse_code(values: object, where: str, *, known: Mapping[str, str] | None = None) -> None:
    """Refuse keys that lead to code, at any depth.

    Raises:
        QpertError: names the key and its place.
    """
    stack: list[tuple[str, object]] = [("", values)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in CODE_KEYS and not (key == "auto_map" and _within(inner, known or {})):
                    raise QpertError(f"{where} asks for {place}{key} = {str(inner)[:80]!r}: {_ADVICE}")
                if "attn_implementation" in key and isinstance(inner, str) and "/" in inner:
                    raise QpertError(f"{where} asks for a kernel from the hub, {place}{key} = {inner!r}: {_ADVICE}")
                stack.append((f"{place}{key}.", inner))
        elif isinstance(value, list):
            stack += [(place, inner) for inner in value]


def _within(values: object, known: Mapping[str, str]) -> bool:
    return isinstance(values, dict) and all(name in known and known[name] == value for name, value in values.items())


def check_configurations(folder: Path, *, known: Mapping[str, str] | None = None) -> None:
    """Refuse a model folder if any of its configurations leads to code, even one that the loader would not read.

    Raises:
        QpertError: names the file and the key.
        OSError, ValueError: a file is damaged.
    """
    for name in _JSON_FILES:
        if (folder / name).is_file():
            read_json(folder / name, known=known)
    if (folder / "adapter_config.json").exists():
        raise QpertError(f"{folder} has an adapter_config.json, which leads to another model: merge the adapter first")


def refuse_pickles(folder: Path, wanted: str) -> None:
    """Explain why the pickles of a folder without the file `wanted` are not opened, as other programs would do.

    Raises:
        QpertError: the folder has a pickle, but not `wanted`.
    """
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if pickles and not (folder / wanted).exists():
        raise QpertError(
            f"{folder} has no {wanted}, and {pickles[0]} is not opened: pickles ({', '.join(PICKLES[:6])}, ...) can run"
            " code. Save the weights as safetensors"
        )


def check_shards(index: Path) -> dict[str, str]:
    """The `weight_map` of a safetensors index: weight -> name of a file beside the index.

    Raises:
        QpertError: it names files elsewhere, or of another kind.
        OSError, ValueError: the index cannot be read.
    """
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{index.name} has no weight_map")
    for name in shards.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise QpertError(
                f"{index} names {name!r}: only .safetensors files beside it are opened; pickles (.bin, .pt, .pth, ...)"
                " can run code"
            )
    return shards

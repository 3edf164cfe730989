"""The weights in files: their names and shapes, compared with those that a model needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipeline.errors import QpertError

UNREADABLE = (AttributeError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)
"""Raised by the model libraries for files that are missing, damaged or of another kind."""


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a safetensors file, by its header.

    Raises:
        OSError, SafetensorError: not such a file.
    """
    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping


def check_shapes(
    needed: Mapping[str, Sequence[int]], given: Mapping[str, Sequence[int]], complaint: str, advice: str = ""
) -> None:
    """Compare the weights that a model has with those of a file.

    Args:
        needed: name -> shape in the model.
        given: name -> shape in the file.
        complaint: beginning of the message, such as "x.pth is not a whole BLIP-2".
        advice: end of the message.

    Raises:
        QpertError: `complaint`, with how many weights are missing, unknown or of another shape, one of them, and
            `advice`.
    """
    for difference, names in (
        ("missing", needed.keys() - given.keys()),
        ("unknown", given.keys() - needed.keys()),
        ("of another shape", {name for name in needed if tuple(needed[name]) != tuple(given.get(name, ()))}),
    ):
        if names:
            raise QpertError(f"{complaint}: {len(names)} weights are {difference}, such as {min(names)}{advice}")

"""Controlled captions (Figure B of the paper): captions of a photo with chosen objects strengthened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor, int64, stack, tensor

from pipeline.encoders.base import Encoder
from pipeline.errors import QpertError
from pipeline.method.acting_boxes import acting_objects
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

ALL = "all"
_ROWS = 32
"""Emphases per pass: each repeats the photo's image tokens, and a photo may have many objects."""


@dataclass(frozen=True)
class Emphasis:
    """Objects of one photo that are strengthened together.

    Attributes:
        name: for display: the label, and the objects' numbers (from 1) in the photo.
        numbers: their numbers, from 0.
    """

    name: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Captions:
    """The captions of one photo: without emphasis, and with each."""

    plain: str
    emphasised: tuple[tuple[Emphasis, str], ...]


def emphases(objects: Objects, choice: str) -> list[Emphasis]:
    """The objects that `choice` names in this photo.

    Args:
        objects: of the photo.
        choice: a label in any case (all objects with that label together), the number of an object (from 1), or `all`
            (each object in turn). A label that looks like a number or `all` cannot be chosen.

    Returns:
        The emphases, none if the photo has no such object.

    Raises:
        QpertError: a number below 1.
    """
    if choice.strip().lower() == ALL:
        return [Emphasis(_name(objects, (number,)), (number,)) for number in range(len(objects))]
    if choice.strip().lstrip("-").isdecimal():
        number = int(choice) - 1
        if number < 0:
            raise QpertError(f"objects are numbered from 1, so there is no {choice}")
        numbers = [number] if 0 <= number < len(objects) else []
    else:
        wanted = choice.strip().lower()
        numbers = [number for number, label in enumerate(objects.labels) if label.lower() == wanted]
    return [Emphasis(_name(objects, numbers), tuple(numbers))] if numbers else []


def subset(objects: Objects, numbers: Sequence[int]) -> Objects:
    """Some of a photo's objects."""
    index = tensor(list(numbers), dtype=int64)
    labels = [objects.labels[number] for number in numbers]
    others = {seed: boxes[index] for seed, boxes in objects.shuffled.items()}
    return Objects(objects.boxes[index], labels, objects.scores[index], objects.size, objects.photo, others)


def write_captions(
    encoder: Encoder,
    images: Sequence[Image.Image],
    objects: Sequence[Objects],
    wanted: Sequence[Sequence[Emphasis]],
    perturbation: Perturbation,
    decoding: Mapping[str, Any] | None = None,
) -> list[Captions]:
    """Captions of photos, plain and with each of their emphases; each photo passes the vision tower once.

    Args:
        encoder: one that writes captions.
        images: RGB photos.
        objects: one `Objects` per photo.
        wanted: the emphases of each photo.
        perturbation: how objects act; its stages must include `lm`.
        decoding: further arguments of `Encoder.caption`.

    Raises:
        QpertError: the encoder writes no captions.
    """
    if not images:
        return []
    options = dict(decoding or {})
    tokens = encoder.backbone(stack([encoder.preprocess(image) for image in images]))
    plain = encoder.caption(tokens, **options)
    pairs = [(row, emphasis) for row, chosen in enumerate(wanted) for emphasis in chosen]
    changed = emphasised_captions(encoder, tokens, objects, pairs, perturbation, options)
    return [
        Captions(
            plain[row],
            tuple((emphasis, text) for (photo, emphasis), text in zip(pairs, changed, strict=True) if photo == row),
        )
        for row in range(len(images))
    ]


def emphasised_captions(
    encoder: Encoder,
    tokens: Tensor,
    objects: Sequence[Objects],
    pairs: Sequence[tuple[int, Emphasis]],
    perturbation: Perturbation,
    decoding: Mapping[str, Any] | None = None,
) -> list[str]:
    """A caption for each (row of the photo, emphasis); see `write_captions`. `tokens` [B, N, C] from the backbone."""
    # Boxes elsewhere keep clear of all objects of the photo, not only of those that are emphasised.
    acting = {row: acting_objects(objects[row], perturbation) for row, _ in pairs}
    placed = replace(perturbation, boxes="own")
    texts: list[str] = []
    for start in range(0, len(pairs), _ROWS):
        chunk = pairs[start : start + _ROWS]
        rows = tensor([row for row, _ in chunk], device=tokens.device)
        chosen = [subset(acting[row], emphasis.numbers) for row, emphasis in chunk]
        texts += encoder.caption(tokens[rows], chosen, placed, **dict(decoding or {}))
    return texts


def _name(objects: Objects, numbers: Sequence[int]) -> str:
    labels = dict.fromkeys(objects.labels[number] or "object" for number in numbers)
    return f"{', '.join(labels)} {' '.join(f'#{number + 1}' for number in numbers)}"

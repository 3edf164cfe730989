"""A photo's captions, side by side: for the terminal, for JSON, and for the gallery."""

from __future__ import annotations

from typing import Any

from pipeline.encoders.emphasis import Captions
from pipeline.method.objects import Objects
from pipeline.printing import printable
from pipeline.reports.gallery import Photo


def as_text(name: str, objects: Objects, captions: Captions, emphasise: str | None) -> str:
    """The photo, its numbered objects, and its captions side by side.

    Args:
        name: of the photo.
        objects: of the photo.
        captions: with and without emphasis.
        emphasise: what was to be emphasised (see `emphases`); None: nothing.
    """
    numbers = ", ".join(f"#{number} {label or 'object'}" for number, label in enumerate(objects.labels, 1))
    lines = [("plain", captions.plain), *((emphasis.name, text) for emphasis, text in captions.emphasised)]
    width = max(len(printable(label)) for label, _ in lines)
    text = [f"{printable(name)}  ({printable(numbers) or 'no objects'})"]
    text += [f"  {printable(label):<{width}}  {printable(caption)}" for label, caption in lines]
    if emphasise is not None and not captions.emphasised:
        text.append(f"  no {printable(emphasise) if len(objects) else 'objects'} here")
    return "\n".join(text) + "\n"


def as_row(name: str, uri: str, objects: Objects, captions: Captions) -> dict[str, Any]:
    """Plain values: the photo, its numbered objects, its caption, and the caption with each emphasis."""
    return {
        "image_id": name,
        "uri": uri,
        "objects": [
            {"number": number, "label": label, "box": [round(edge, 5) for edge in box]}
            for number, (label, box) in enumerate(zip(objects.labels, objects.boxes.tolist(), strict=True), 1)
        ],
        "caption": captions.plain,
        "emphasised": [
            {"objects": [number + 1 for number in emphasis.numbers], "name": emphasis.name, "caption": text}
            for emphasis, text in captions.emphasised
        ],
    }


def as_photo(name: str, uri: str, objects: Objects, captions: Captions) -> Photo:
    """The photo for the gallery, with the objects' numbers in their labels."""
    lines = [("plain", captions.plain), *((emphasis.name, text) for emphasis, text in captions.emphasised)]
    numbered = [
        dict(zip(("x0", "y0", "x1", "y1"), box, strict=True), label=f"#{number} {label or 'object'}", score=score)
        for number, (box, label, score) in enumerate(
            zip(objects.boxes.tolist(), objects.labels, objects.scores.tolist(), strict=True), 1
        )
    ]
    return Photo(name, uri, numbered, captions=lines)

"""Captions and splits in Karpathy's form: `dataset_flickr30k.json`, `dataset_coco.json`, `dataset_scenes.json`.

A file is `{"images": [{"filename", "split", "sentences": [{"raw"}], "filepath" (COCO)}, ...]}`; other keys are ignored.
Sources: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import QpertError


@dataclass(frozen=True)
class CaptionedImage:
    """A photo's id and what people wrote about it."""

    image_id: str
    """The file's name, without its folder."""
    captions: list[str]


class _Sentence(BaseModel):
    raw: str


class _Image(BaseModel):
    filename: str = Field(min_length=1)
    split: str
    sentences: list[_Sentence]


class _File(BaseModel):
    images: list[_Image]


def read_karpathy(path: str | Path, split: str | None = "test") -> list[CaptionedImage]:
    """The captioned images of one split, in the order of the file; of all splits when `split` is None.

    Blank captions are dropped with a warning. An image may have any number of captions.

    Raises:
        QpertError: the file is missing, is not of this form (the message names the entry), names an image twice or
            has no such split.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise QpertError(f"cannot read the captions {path}: {error.strerror}") from error
    try:
        entries = _File.model_validate_json(data).images
    except ValidationError as error:
        raise QpertError(f"{path} is not a Karpathy data set: {_first_problem(error)}") from error
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if first.setdefault(entry.filename, number) != number:
            raise QpertError(f"{path}: images[{number}] and images[{first[entry.filename]}] are both {entry.filename}")
    chosen = [entry for entry in entries if split is None or entry.split == split]
    if not chosen:
        splits = ", ".join(f"{name} ({count})" for name, count in Counter(e.split for e in entries).items())
        raise QpertError(f"{path} has no image in the split {split!r}; it has: {splits or 'no images at all'}")
    blank = [f"images[{first[e.filename]}].sentences[{i}]" for e in chosen for i in _blank(e)]
    if blank:
        warnings.warn(f"{path}: {len(blank)} blank captions are left out, the first is {blank[0]}", stacklevel=2)
    return [
        CaptionedImage(entry.filename, [s.raw.strip() for s in entry.sentences if s.raw.strip()]) for entry in chosen
    ]


def _blank(entry: _Image) -> list[int]:
    return [number for number, sentence in enumerate(entry.sentences) if not sentence.raw.strip()]


def _first_problem(error: ValidationError) -> str:
    """`images[3].sentences[0].raw: Field required (and 2 more)`."""
    problems = error.errors(include_url=False, include_input=False)
    where = ""
    for part in problems[0]["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where.lstrip('.')}: {problems[0]['msg']}{more}" if where else f"{problems[0]['msg']}{more}"

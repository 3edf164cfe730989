"""Captions and splits in Karpathy's format: `dataset_flickr30k.json`, `dataset_coco.json`, `dataset_scenes.json`.

A file is `{"images": [{"filename", "split", "sentences": [{"raw"}], "filepath" (COCO)}, ...]}`; other keys are ignored.
Sources: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.json_file import entries, first_problem, member
from pipeline.errors import QpertError

_FORM = "a Karpathy data set"


class _Sentence(BaseModel, strict=True):
    raw: str


class _Image(BaseModel, strict=True):
    filename: str = Field(min_length=1)
    split: str
    sentences: list[Any]


def collect_karpathy(data: Any, into: CaptionCollector, split: str | None) -> None:
    """Collect the images of one split, or of all splits when `split` is None.

    Raises:
        QpertError: the data is not in this format, or has no such split; or in strict reading, an entry is bad or names
            an image twice (in any splits).
    """
    splits: Counter[str] = Counter()
    names: dict[str, int] = {}
    images = member(data, "images", into.path, _FORM)
    for number, entry in entries(images, _Image, _FORM, into.bad, "images"):
        splits[entry.split] += 1
        with into.bad:
            first = names.setdefault(entry.filename, number)
            if first != number:
                raise QpertError(f"{into.path}: images[{number}] and images[{first}] are both {entry.filename}")
            if split is None or entry.split == split:
                image_id = into.add_image(entry.filename, f"images[{number}]")
                for position, sentence in enumerate(entry.sentences):
                    _add_sentence(into, image_id, sentence, f"images[{number}].sentences[{position}]")
    into.bad.check()
    if not splits[split] if split is not None else not splits:
        known = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
        raise QpertError(f"{into.path} has no image in the split {split!r}; it has: {known or 'no images at all'}")


def _add_sentence(into: CaptionCollector, image_id: str, sentence: Any, where: str) -> None:
    with into.bad:
        try:
            raw = _Sentence.model_validate(sentence).raw
        except ValidationError as error:
            raise QpertError(f"{into.path} is not {_FORM}: {first_problem(error, where)}") from error
        into.add_caption(image_id, raw, where)

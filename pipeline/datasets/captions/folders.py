"""Captions that are folders: Urban-1k, DCI, and SORCE-1K with its three levels.

Urban-1k has `image/N.jpg` and `caption/N.txt`. DCI has a JSON file per photo in `annotations/`, with `image` and
`extra_caption`; which of them are in a split is in `splits.json`. SORCE-1K has `dataset.jsonl` with `image` and
`caption`, and each photo in three folders, of which two are enlarged around the small object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.captions.collector import MAX_CAPTION, CaptionCollector
from pipeline.datasets.dci import dci_files, without_masks
from pipeline.datasets.json_file import parse_json, read_json
from pipeline.datasets.names import plain_stem
from pipeline.datasets.text_file import open_text
from pipeline.errors import QpertError

LEVELS = ("full_res", "zoom_2x", "zoom_3x")
"""Folders of SORCE-1K, from hard to easy."""
FORMS = (
    "Urban-1k (image/ and caption/), DCI (annotations/*.json) or SORCE-1K "
    f"(dataset.jsonl, and some of {', '.join(LEVELS)})"
)
_SORCE = "dataset.jsonl"
_MAX_TEXT = 4 * MAX_CAPTION
"""Bytes of a file with one caption."""


def collect_folder(into: CaptionCollector, split: str | None) -> None:
    """Collect the captions of a folder.

    Raises:
        QpertError: it is in none of the known forms, or has no such split; or in strict reading, an entry is bad.
    """
    folder = into.path
    levels = [level for level in LEVELS if (folder / level).is_dir()]
    if levels and (folder / _SORCE).is_file():
        _collect_levels(into, levels, split)
    elif (folder / "image").is_dir() and (folder / "caption").is_dir():
        _collect_pairs(into)
    elif annotations := dci_files(folder):
        _collect_dci(into, annotations, split)
    else:
        raise QpertError(f"cannot read {folder}: it is not a file, nor a folder of captions as of {FORMS}")


def _collect_levels(into: CaptionCollector, levels: list[str], split: str | None) -> None:
    """All levels are one gallery. The copies of a photo at other levels neither help nor hurt its caption."""
    if split in LEVELS and split not in levels:
        raise QpertError(f"{into.path} has no folder {split}; it has: {', '.join(levels)}")
    chosen = [split] if split in LEVELS else levels
    path = into.path / _SORCE
    with open_text(path, strict=into.bad.strict) as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    with into.bad:
                        _add_levels(into, line, f"line {number}", levels, chosen)
        except UnicodeDecodeError as error:
            raise QpertError(f"cannot read {path}: {error}") from error


def _add_levels(into: CaptionCollector, line: str, where: str, levels: list[str], chosen: list[str]) -> None:
    try:
        row = parse_json(line, strict=into.bad.strict)
    except (ValueError, RecursionError) as error:
        raise QpertError(f"{into.path}: {where} is not valid JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise QpertError(f"{into.path}: {where} names no image")
    for level in levels:
        image_id = into.add_copy(row["image"], level, where, query=level in chosen)
        if level in chosen:
            into.add_any_caption(image_id, row.get("caption"), f"{where}, caption")


def _collect_pairs(into: CaptionCollector) -> None:
    """Pairs of Urban-1k, in the order of their names; a photo without a text is a distractor."""
    images = {plain_stem(name): name for name in _names(into.path / "image")}
    texts = {plain_stem(name): name for name in _names(into.path / "caption") if name.lower().endswith(".txt")}
    for stem in sorted(images, key=_in_order):
        with into.bad:
            image_id = into.add_image(images[stem], f"image/{images[stem]}")
            if stem in texts:
                into.add_any_caption(image_id, _text(into, into.path / "caption" / texts[stem]), texts[stem])
    for stem in sorted(texts.keys() - images.keys(), key=_in_order):
        with into.bad:
            raise QpertError(f"{into.path}: caption/{texts[stem]} has no photo in image/")


def _names(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):
        if not name.startswith("."):
            yield name


def _in_order(stem: str) -> tuple[int, str]:
    return (int(stem) if stem.isascii() and stem.isdecimal() and len(stem) < 20 else -1, stem)


def _text(into: CaptionCollector, path: Path) -> str:
    try:
        with open_text(path, strict=into.bad.strict) as file:
            text = file.read(_MAX_TEXT + 1)
    except UnicodeDecodeError as error:
        raise QpertError(f"cannot read {path}: {error}") from error
    return " ".join(text.split())


def _collect_dci(into: CaptionCollector, files: list[Path], split: str | None) -> None:
    """The photos of a split, or all of them if there is no `splits.json`."""
    wanted = _split(into, split)
    for path in files:
        if wanted is not None and path.stem not in wanted:
            continue
        with into.bad:
            data = read_json(path, without_masks, strict=into.bad.strict)
            if not isinstance(data, dict) or not isinstance(data.get("image"), str):
                raise QpertError(f"{into.path}: {path.name} names no image")
            image_id = into.add_image(data["image"], path.name)
            into.add_any_caption(image_id, data.get("extra_caption"), f"{path.name}, extra_caption")


def _split(into: CaptionCollector, split: str | None) -> set[str] | None:
    """Stems of the files of a split."""
    path = into.path / "splits.json"
    if split is None or not path.is_file():
        return None
    splits = read_json(path, strict=into.bad.strict)
    if not isinstance(splits, dict) or not isinstance(splits.get(split), list):
        known = ", ".join(map(str, splits)) if isinstance(splits, dict) else "none"
        raise QpertError(f"{path} has no split {split!r}; it has: {known}")
    return {Path(str(name)).stem for name in splits[split]}

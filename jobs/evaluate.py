"""Measure retrieval: Recall@K of captions over indexed photos, in both directions and by object size.

Examples:
    qpert evaluate features --captions dataset_scenes.json
    qpert evaluate features --captions dataset_flickr30k.json --split test --annotations flickr30k_entities
    qpert evaluate features --captions dataset_coco.json -k 1 5 10 --json figures.json

Recall@K is the share of queries with a right answer in the top K; text to image, a caption's photo; image to text,
any of the photo's captions. mR@K is the harmonic mean over ten bins of the largest object's area. A tie counts against
the query. Captions and photos are joined by file name, and the photos of the split are the gallery.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from pipeline.datasets.karpathy import CaptionedImage, read_karpathy
from pipeline.errors import QpertError
from pipeline.features import FeatureSet
from pipeline.reports import bins_table, overall_table, printable, terminal
from pipeline.retrieval import Evaluation, embed_texts, evaluate, load_text_encoder


class Config(BaseModel):
    """Which features, which captions, and what to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str = Field(description="folder or URI that qpert index wrote", json_schema_extra={"positional": True})
    captions: str = Field(description="captions and splits: a Karpathy dataset_*.json")
    split: str = Field("test", description="the split to evaluate; all for every image")
    annotations: str | None = Field(
        None, description="Flickr30K Entities folder: size bins by its boxes instead of the indexed objects"
    )
    k: list[int] = Field([1, 5, 10], min_length=1, description="the K of Recall@K", json_schema_extra={"flag": "-k"})
    json_file: str | None = Field(
        None, description="also write the figures to this file", json_schema_extra={"flag": "--json"}
    )
    weights: str | None = Field(
        None, description="the encoder's weights, if they have moved since the photos were indexed"
    )
    device: str = Field("cpu", description="torch device for the captions")


def run(config: Config) -> int:
    """Measures, prints the tables and writes the JSON."""
    result = measure(config)
    print(as_text(result, by="annotated" if config.annotations else "indexed"))
    if config.json_file is not None:
        write_json(result, config.json_file)
        print(f"\nfigures: {config.json_file}")
    return 0


def measure(config: Config) -> Evaluation:
    """The evaluation itself: takes and returns plain data and needs no Ray, so that a Ray task can call it."""
    captions = read_karpathy(config.captions, None if config.split == "all" else config.split)
    features = FeatureSet.open(config.out)
    areas = None if config.annotations is None else annotated_areas(config.annotations, captions)
    encoder = load_text_encoder(features, weights=config.weights, device=config.device)
    return evaluate(features, captions, lambda texts: embed_texts(encoder, texts), areas=areas, ks=config.k)


def annotated_areas(folder: str, captions: list[CaptionedImage]) -> dict[str, float]:
    """Largest box's area (fraction of the photo) by image id, from Flickr30K Entities annotations.

    Images without a box are left out: they have no size.

    Raises:
        QpertError: the folder cannot be read, or annotates none of the images.
    """
    from pipeline.datasets.entities import read_entities

    annotated = read_entities(folder)
    areas: dict[str, float] = {}
    known = 0
    for image in captions:
        entry = annotated.get(PurePosixPath(image.image_id).stem)
        known += entry is not None
        if entry is not None and entry.boxes and entry.size is not None:
            width, height = entry.size
            areas[image.image_id] = max((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1) in entry.boxes) / width / height
    if not known:
        raise QpertError(f"{folder} annotates none of the captioned images, such as {captions[0].image_id}")
    return areas


def as_text(result: Evaluation, *, by: str = "indexed") -> str:
    """The tables, what was left out, and why."""
    report = result.report
    parts = [
        f"{report.images} photos, {report.texts} captions; figures in percent",
        terminal(*overall_table(report)),
        f"by the area of the largest {by} object",
        terminal(*bins_table(report)),
    ]
    return "\n\n".join(parts + ["\n".join(remarks(result))] * bool(remarks(result)))


def remarks(result: Evaluation) -> list[str]:
    """One line for each thing that a reader of the figures should know."""
    report, lines = result.report, []
    for who, why in ((result.missing, "are not in the features"), (result.failed, "could not be indexed")):
        if who:
            lines.append(f"left out: {len(who)} captioned images that {why}, {_some(who)}")
    if result.ignored:
        lines.append(f"not in the gallery: {result.ignored} indexed photos outside the captions")
    if report.i2t.unbinned:
        lines.append(f"in no size bin: {report.i2t.unbinned} photos without an object (they count in R@K)")
    if report.i2t.empty_bins:
        names = ", ".join(f"{10 * b}-{10 * b + 10} %" for b in report.i2t.empty_bins)
        lines.append(f"left out of mR@K: size bins without a photo, {names}")
    return lines


def write_json(result: Evaluation, path: str) -> None:
    """The whole evaluation as JSON; recalls are fractions, keys of `recall` the K."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write {path}: {error.strerror}") from error


def _some(names: tuple[str, ...] | dict[str, str]) -> str:
    shown = [f"{name} ({names[name]})" if isinstance(names, dict) else name for name in list(names)[:3]]
    return "such as " + printable(", ".join(shown))

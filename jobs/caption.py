r"""Write captions of photos, and see how they change when chosen objects are emphasised (BLIP-2).

Examples:
  qpert caption scenes/images --limit 8                            captions of eight scenes by the miniature
  qpert caption scenes/images --emphasise star --limit 8           with the stars strengthened as well, side by side
  qpert caption photo.jpg --emphasise all --html captions.html     each object in turn, and a report with the boxes
  qpert caption photos/ --emphasise 2                              the second object of each photo
  qpert caption photos/ --emphasise dog --detector yolo11x.pt \
        --weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth

The queries of the Q-Former are strengthened along the key subspace of the objects while the caption is written (stage
lm). --perturbation.scale sets the strength: too little changes nothing, too much makes nonsense. Objects are numbered
in the order of the detector, as in the output. This runs in one process; use --device cuda for a GPU.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors import check_packages
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.paths import PathText, ReportPath, WeightsText
from pipeline.runs.options import AnnotationOptions, SourceOptions
from pipeline.runs.perturbation_config import PerturbationConfig

if TYPE_CHECKING:
    from pipeline.method.settings import Perturbation
    from pipeline.reports.gallery import Photo

logger = logging.getLogger(__name__)
FOR_PHOTOS = (
    "--weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth",
    "4.7 GB (blip2_finetune_coco.pth is LAVIS' checkpoint, which you fetch yourself)",
)
"""Weights that write captions of real photos, and what they download."""


class WritingOptions(BaseModel):
    """Which photos, which objects, and how to write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: PathText = Field(
        min_length=1,
        description="a photo, a folder, glob or list file of photos",
        json_schema_extra={"positional": True},
    )
    emphasise: str | None = Field(
        None, min_length=1, description="which objects: a label, a number (from 1), or all, one at a time"
    )
    encoder: str = Field("blip2", description="name of the encoder")
    weights: WeightsText | None = Field(
        None, description="weights of the encoder, with a language head (default: its miniature)"
    )
    detector: DetectorConfig = Field(
        DetectorConfig(), description="how objects are found", json_schema_extra={"short": "model"}
    )
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(),
        description="how objects act while the caption is written",
        json_schema_extra={"short": "preset"},
    )
    num_beams: int | None = Field(None, ge=1, description="beams; 1 is greedy (default: the model's, LAVIS: 3)")
    max_length: int | None = Field(None, ge=2, description="maximum number of tokens (default: the model's, LAVIS: 30)")
    min_length: int | None = Field(None, ge=0, description="minimum number of tokens (default: the model's, LAVIS: 10)")
    prompt: str = Field("", description="beginning of every caption")
    limit: int | None = Field(None, ge=1, description="only the first so many photos")
    batch_size: int = Field(8, ge=1, description="photos per pass")
    html: ReportPath | None = Field(None, description="write a report with the photos, boxes and captions to this file")
    json_file: ReportPath | None = Field(
        None, description="also write the captions to this file", json_schema_extra={"flag": "--json"}
    )
    device: str = Field("cpu", description="torch device")
    dtype: str = Field("float32", description="number format of the vision tower: float32, float16, bfloat16")


class Config(AnnotationOptions, SourceOptions, WritingOptions):
    """The options of ``qpert caption``."""


def run(config: Config) -> int:
    """Prints the captions; returns 1 when no photo has one."""
    check_packages(config.detector)
    # Imported here, because --help must not wait for torch.
    from pipeline.datasets.photos.source import find_photos
    from pipeline.datasets.scenes.recognition import are_scenes
    from pipeline.detectors import check_annotations, check_detector, check_shuffles, load_detector
    from pipeline.encoders import check_encoder, load_encoder
    from pipeline.encoders.emphasis import emphases
    from pipeline.experiments.captioning import Captioner, open_photos
    from pipeline.features.miniatures import REMINDER, is_miniature, miniature_warning
    from pipeline.method.objects import Objects
    from pipeline.reports.caption_report import as_photo, as_row, as_text
    from pipeline.reports.gallery import Photo

    if config.min_length is not None and config.max_length is not None and config.min_length > config.max_length:
        raise QpertError(f"--min-length {config.min_length} is above --max-length {config.max_length}")
    if config.emphasise is not None:
        emphases(Objects.empty((1, 1)), config.emphasise)  # refuses impossible numbers at once
    perturbation = _perturbation(config)
    check_encoder(config.encoder, config.weights)
    shuffles = (perturbation.seed,) if perturbation.boxes == "shuffled" else ()
    if shuffles:
        check_shuffles(config.detector)
    check_detector(config.detector)
    if config.strict_annotations:
        check_annotations(config.detector)
    source = find_photos(config.source, rules=config.rules())
    small = config.encoder if is_miniature(config.weights) else None
    miniature_detector = config.detector.model == "miniature"
    scenes = are_scenes(source) if small or miniature_detector else None
    warning = miniature_warning(small, detector=miniature_detector, scenes=scenes, advice=FOR_PHOTOS)
    if warning is not None:
        logger.warning(warning)
    photos = open_photos(source, limit=config.limit, batch_size=config.batch_size)
    encoder = load_encoder(config.encoder, weights=config.weights, device=config.device, dtype=config.dtype)
    detector = load_detector(config.detector, config.device, shuffles=shuffles)
    names = ("num_beams", "max_length", "min_length")
    decoding = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    decoding |= {"prompt": config.prompt}
    caption = Captioner(encoder, detector, config.emphasise, perturbation, decoding, config.batch_size)
    rows: list[dict[str, Any]] = []
    cards: list[Photo] = []
    try:
        while batch := list(islice(photos, config.batch_size)):
            for photo in caption(batch):
                name, uri = photo.image_id, photo.uri
                if photo.captions is None:
                    logger.info(f"{name}: left out: {photo.problem}")
                    rows.append({"image_id": name, "uri": uri, "error": photo.problem})
                    cards.append(Photo(name, uri, error=photo.problem))
                    continue
                print(as_text(name, photo.objects, photo.captions, config.emphasise), flush=True)
                rows.append(as_row(name, uri, photo.objects, photo.captions))
                cards.append(as_photo(name, uri, photo.objects, photo.captions))
    finally:
        if rows:  # also after an interruption
            _write_files(config, rows, cards, warning or "")
    _summarise(config, rows)
    if warning is not None:
        logger.warning(REMINDER)
    return 0 if any("caption" in row for row in rows) else 1


def _perturbation(config: Config) -> Perturbation:
    """The perturbation, in the only stage that writes."""
    chosen = config.perturbation
    if chosen.stages is not None and "lm" not in chosen.stages:
        raise QpertError(f"captions are written in the stage lm, not in {', '.join(chosen.stages)}")
    perturbation = chosen.model_copy(update={"stages": ("lm",)}).build()
    if perturbation is None:
        raise QpertError("--perturbation none emphasises nothing; leave --emphasise out for plain captions")
    return perturbation


def _summarise(config: Config, rows: list[dict[str, Any]]) -> None:
    """Prints how many photos were left out, and whether there was anything to emphasise."""
    failed = sum("error" in row for row in rows)
    if failed:
        logger.info(f"{failed} of {len(rows)} photos were left out")
    if config.detector.annotations is not None:
        from pipeline.datasets.boxes.reading import read_boxes
        from pipeline.runs.named_photos import unannotated_text

        if text := unannotated_text((row["image_id"] for row in rows), read_boxes(config.detector.annotations)):
            logger.warning(text)
    if config.emphasise is None or any(row.get("emphasised") for row in rows):
        return
    labels = Counter(thing["label"] or "object" for row in rows for thing in row.get("objects", ()))
    counts = ", ".join(f"{label} ({count})" for label, count in labels.most_common()) or "nothing"
    logger.info(f"no photo has {config.emphasise} to emphasise; found: {counts}")


def _write_files(config: Config, rows: list[dict[str, Any]], cards: list[Photo], warning: str) -> None:
    if config.json_file is not None:
        try:
            Path(config.json_file).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise QpertError(f"cannot write {config.json_file}: {error.strerror}") from error
        print(f"captions: {config.json_file}")
    if config.html is not None:
        from pipeline.reports.gallery import Section, write_gallery

        emphasis = f", emphasised: {config.emphasise}" if config.emphasise else ""
        subtitle = f"{config.encoder}, {config.weights or 'miniature'} · {len(cards)} photos{emphasis}"
        section = Section(config.source, cards, warning=warning)
        write_gallery(config.html, "Captions", [section], subtitle=subtitle, rules=config.rules())
        print(f"report: {config.html}")

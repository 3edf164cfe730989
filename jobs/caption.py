r"""Write captions of photos, and see how they change when chosen objects are emphasised (BLIP-2).

Examples:
  qpert caption scenes/images --limit 8                            captions of eight scenes by the miniature
  qpert caption scenes/images --emphasise star --limit 8           with the stars strengthened as well, side by side
  qpert caption photo.jpg --emphasise all --html captions.html     each object in turn, and a report with the boxes
  qpert caption photos/ --emphasise 2                              the second object of each photo
  qpert caption photos/ --emphasise dog --detector yolo11x.pt \
        --weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth

The queries of the Q-Former are strengthened along the key subspace of the objects while the caption is written (stage
lm). --perturbation.scale says how much: too little changes nothing, too much makes nonsense. Objects have numbers in
the order of the detector, as the output shows them. This runs in one process; use --device cuda for a GPU.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.paths import PathText, ReportPath, WeightsText
from pipeline.printing import printable
from pipeline.runs.options import SourceOptions
from pipeline.runs.perturbation_config import PerturbationConfig

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.method.settings import Perturbation
    from pipeline.reports import Photo


class WritingOptions(BaseModel):
    """Which photos, which objects, and how to write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: PathText = Field(
        min_length=1,
        description="a photo, a folder, glob or list file of photos",
        json_schema_extra={"positional": True},
    )
    emphasise: str | None = Field(
        None, min_length=1, description="which objects: a label, a number (from 1), or all: each in turn"
    )
    encoder: str = Field("blip2", description="name of the encoder")
    weights: WeightsText | None = Field(
        None, description="weights of the encoder, with a language head (default: miniature)"
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
    max_length: int | None = Field(None, ge=2, description="tokens at most (default: the model's, LAVIS: 30)")
    min_length: int | None = Field(None, ge=0, description="tokens at least (default: the model's, LAVIS: 10)")
    prompt: str = Field("", description="how every caption shall begin")
    limit: int | None = Field(None, ge=1, description="only the first so many photos")
    batch_size: int = Field(8, ge=1, description="photos per pass")
    html: ReportPath | None = Field(None, description="write a report with the photos, boxes and captions to this file")
    json_file: ReportPath | None = Field(
        None, description="also write the captions to this file", json_schema_extra={"flag": "--json"}
    )
    device: str = Field("cpu", description="torch device")
    dtype: str = Field("float32", description="of the vision tower: float32, float16, bfloat16")


class Config(SourceOptions, WritingOptions):
    """The options of ``qpert caption``."""


def run(config: Config) -> int:
    """Prints the captions; returns 1 when no photo has one."""
    from jobs.captioning import captioner
    from pipeline.detectors import check_detector, load_detector
    from pipeline.encoders import check_encoder, load_encoder
    from pipeline.encoders.emphasis import emphases
    from pipeline.method.objects import Objects
    from pipeline.reports import Photo
    from pipeline.reports.caption_report import as_photo, as_row, as_text
    from pipeline.workers.micro_batching import Failure

    if config.min_length is not None and config.max_length is not None and config.min_length > config.max_length:
        raise QpertError(f"--min-length {config.min_length} is above --max-length {config.max_length}")
    if config.emphasise is not None:
        emphases(Objects.empty((1, 1)), config.emphasise)  # a number that cannot be is said at once
    perturbation = _perturbation(config)
    check_encoder(config.encoder, config.weights)
    check_detector(config.detector)
    photos = _photos(config)
    encoder = load_encoder(config.encoder, weights=config.weights, device=config.device, dtype=config.dtype)
    detector = load_detector(config.detector, config.device)
    names = ("num_beams", "max_length", "min_length")
    decoding = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    decoding |= {"prompt": config.prompt}
    caption = captioner(encoder, detector, config.emphasise, perturbation, decoding, config.batch_size)
    shown: list[dict[str, Any]] = []
    cards: list[Photo] = []
    try:
        while batch := list(islice(photos, config.batch_size)):
            done = iter(caption([(name, image) for name, _, image in batch if not isinstance(image, str)]))
            for name, uri, image in batch:
                result = Failure(image) if isinstance(image, str) else next(done)
                if isinstance(result, Failure):
                    print(f"{printable(name)}: left out: {printable(result.reason)}", file=sys.stderr, flush=True)
                    shown.append({"image_id": name, "uri": uri, "error": result.reason})
                    cards.append(Photo(name, uri, error=result.reason))
                    continue
                of_photo, captions = result
                print(as_text(name, of_photo, captions, config.emphasise), flush=True)
                shown.append(as_row(name, uri, of_photo, captions))
                cards.append(as_photo(name, uri, of_photo, captions))
    finally:
        if shown:  # interrupted or not, what was written is kept
            _write_files(config, shown, cards)
    _summarise(config, shown)
    return 0 if any("caption" in row for row in shown) else 1


def _perturbation(config: Config) -> Perturbation:
    """The perturbation, in the one stage that writes."""
    chosen = config.perturbation
    if chosen.stages is not None and "lm" not in chosen.stages:
        raise QpertError(f"captions are written in the stage lm, not in {', '.join(chosen.stages)}")
    built = chosen.model_copy(update={"stages": ("lm",)}).build()
    if built is None:
        raise QpertError("--perturbation none emphasises nothing; leave --emphasise out for plain captions")
    return built


def _photos(config: Config) -> Iterator[tuple[str, str, Image.Image | str]]:
    """Id, URI and image of each photo; instead of the image the reason why there is none."""
    from pipeline.datasets.photos.found_photos import Listing
    from pipeline.datasets.photos.reading import read_named, read_photo
    from pipeline.datasets.photos.shard_reading import read_shard
    from pipeline.datasets.photos.source import find_photos
    from pipeline.io.images import decode

    found = find_photos(config.source, rules=config.rules())  # says at once when there is nothing

    def rows() -> Iterator[dict[str, Any]]:
        if isinstance(found, Listing):
            yield from chain.from_iterable(batch.to_pylist() for batch in found.batches(config.limit, rows=256))
        else:
            for shard in found.shards:
                tables = read_shard(shard, config.batch_size, None, found.rules, partial(read_named, rules=found.rules))
                yield from chain.from_iterable(table.to_pylist() for table in tables)

    def open_all() -> Iterator[tuple[str, str, Image.Image | str]]:
        for row in islice(rows(), config.limit):
            try:
                if row.get("error"):
                    raise QpertError(row["error"])
                image: Image.Image | str = decode(row["data"] if "data" in row else read_photo(row["uri"], found.rules))
            except QpertError as error:
                image = str(error)
            yield row["image_id"], row["uri"], image

    return open_all()


def _summarise(config: Config, shown: list[dict[str, Any]]) -> None:
    """What was left out, and whether there was anything to emphasise."""
    failed = sum("error" in row for row in shown)
    if failed:
        print(f"{failed} of {len(shown)} photos were left out", file=sys.stderr)
    if config.emphasise is None or any(row.get("emphasised") for row in shown):
        return
    found = Counter(thing["label"] or "object" for row in shown for thing in row.get("objects", ()))
    there = ", ".join(f"{label} ({count})" for label, count in found.most_common()) or "nothing"
    print(f"no photo has {printable(config.emphasise)} to emphasise; found: {printable(there)}", file=sys.stderr)


def _write_files(config: Config, shown: list[dict[str, Any]], cards: list[Photo]) -> None:
    if config.json_file is not None:
        try:
            Path(config.json_file).write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise QpertError(f"cannot write {config.json_file}: {error.strerror}") from error
        print(f"captions: {config.json_file}")
    if config.html is not None:
        from pipeline.reports import Section, write_gallery

        what = f", emphasised: {config.emphasise}" if config.emphasise else ""
        subtitle = f"{config.encoder}, {config.weights or 'miniature'} · {len(cards)} photos{what}"
        write_gallery(config.html, "Captions", [Section(config.source, cards)], subtitle=subtitle, rules=config.rules())
        print(f"report: {config.html}")

"""Measure what the pipeline costs: against a bare PyTorch loop, and Q-Perturbation against plain queries.

Examples:
  qpert benchmark                           2,000 scenes, drawn for the purpose, with the miniature models
  qpert benchmark photos/ --photos 500 --detector yolo11n.pt
  qpert benchmark --no-pipeline             only the extra time of Q-Perturbation at BLIP-2's size

Both sides of the first comparison do the same work with the same models on the same photos: the bare loop reads,
decodes, detects and encodes in batches, in one process with all cores; the pipeline also checks, retries, writes
Parquet and can resume. Warming up is left out on both sides, and said apart: the bare loop's first batch; for the
pipeline all until every actor is up and a batch has come out at the end, where photos that are half-way by then count
by the work left on them. The bare loop runs before and after, so that a machine that is busy otherwise shows.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from jobs import index
from jobs.options import PerturbationConfig
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.benchmarks.query_former import QueryFormerTimes


class Config(BaseModel):
    """What to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(
        None, description="folder or list of local photos (default: scenes)", json_schema_extra={"positional": True}
    )
    photos: int = Field(2000, ge=64, description="how many photos")
    encoder: str = Field("coca", description="name of the encoder")
    weights: str | None = Field(None, description="weights of the encoder (default: miniature)")
    detector: DetectorConfig = Field(
        DetectorConfig(), description="how objects are found", json_schema_extra={"short": "model"}
    )
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(), description="how objects act on the embedding", json_schema_extra={"short": "preset"}
    )
    batch_size: int = Field(32, ge=1, description="photos per call of a model, on both sides")
    block_size: int | None = Field(None, ge=1, description="photos per unit of work of the pipeline (default: 64)")
    detect_actors: int | None = Field(None, ge=1, description="actors that detect (default: by the machine)")
    encode_actors: int | None = Field(None, ge=1, description="actors that encode (default: by the machine)")
    cpus: int | None = Field(None, ge=1, description="CPU cores for both sides (default: all)")
    pipeline: bool = Field(True, description="measure the pipeline against the bare loop")
    query_former: bool = Field(True, description="measure Q-Perturbation at BLIP-2's size, with random weights")
    repetitions: int = Field(9, ge=1, description="of the Q-Former's passes; medians are shown")
    json_file: str | None = Field(None, description="write the figures to this file as well")


def run(config: Config) -> int:
    """Measure and print."""
    figures: dict[str, Any] = {}
    if config.pipeline:
        with tempfile.TemporaryDirectory(prefix="qpert-benchmark-") as folder:
            figures["pipeline"] = _pipeline(config, Path(folder))
    if config.query_former:
        figures["query_former"] = _query_former(config)
    if config.json_file:
        Path(config.json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _pipeline(config: Config, folder: Path) -> dict[str, float]:
    from pipeline.benchmarks.bare_loop import bare_loop
    from pipeline.datasets.photos import Listing, find_photos
    from pipeline.datasets.scenes import write_scenes
    from pipeline.detectors import load_detector
    from pipeline.encoders import load_encoder
    from pipeline.stages.run import index_photos

    source = config.source
    if source is None:
        write_scenes(folder / "scenes", config.photos, seed=2)
        source = str(folder / "scenes" / "images")
    options = {name: value for name, value in config if name in index.Config.model_fields}
    indexing = index.Config(**options | {"source": source, "out": str(folder / "out"), "limit": config.photos})
    photos = find_photos(source)
    if not isinstance(photos, Listing) or config.detector.model == "annotated":
        raise QpertError("the benchmark takes photos in files of their own, and a detector that looks at them")
    paths = [uri for batch in photos.batches(config.photos) for uri in batch.column("uri").to_pylist()]

    cores = config.cpus or os.cpu_count() or 1
    detector = None if config.detector.model == "none" else load_detector(config.detector)
    encoder = load_encoder(config.encoder, weights=config.weights)
    loop = partial(
        bare_loop, paths, encoder, detector, config.perturbation.build(), batch=config.batch_size, threads=cores
    )
    before = loop()
    what = index.identity(indexing)
    make_graph = partial(index.build_graph, indexing, photos, what, len(paths))
    outcome = index_photos(
        make_graph, index.make_manifest(indexing, what), indexing.out, todo=len(paths), cpus=config.cpus
    )
    if outcome.totals["failed"]:
        raise QpertError(f"{outcome.totals['failed']} of {len(paths)} photos cannot be indexed: choose others")
    rate, whole = outcome.counts.warm_rate(), outcome.counts.rate()
    if rate is None or whole is None:
        raise QpertError(f"{len(paths)} photos were done before all actors were up; take more --photos")
    after = loop()
    bare = 2 / (1 / before + 1 / after)
    figures = {
        "photos": len(paths),
        "cores": cores,
        "bare_before": before,
        "bare_after": after,
        "bare": bare,
        "pipeline": rate,
        "ratio": rate / bare,
        "pipeline_from_first_batch": whole,
        "seconds_in_all": outcome.seconds,
    }
    print(
        f"{len(paths):,} photos, {config.encoder} and detector {config.detector.model}, {cores} cores\n"
        f"  bare loop  {bare:8.1f} images/s   ({before:.1f} before, {after:.1f} after; {cores} threads)\n"
        f"  pipeline   {rate:8.1f} images/s   from when all actors were up to the last batch\n"
        f"  ratio      {rate / bare:8.2f}\n"
        f"  from the first batch on, while other actors still started: {whole:.1f} images/s;"
        f" in all, with Ray, models and files: {outcome.seconds:.0f} s"
    )
    return figures


def _query_former(config: Config) -> dict[str, Any]:
    import dataclasses

    import torch

    from pipeline.benchmarks.query_former import measure_query_former

    torch.set_num_threads(config.cpus or os.cpu_count() or 1)
    times: QueryFormerTimes = measure_query_former(
        repetitions=config.repetitions, perturbation=config.perturbation.build()
    )
    print(
        f"BLIP-2's Q-Former, random weights: {times.images} photos, {times.objects} objects each,"
        f" {times.tokens_per_object:.0f} tokens per object, {times.threads} threads on {times.device}\n"
        f"  plain      {1000 * times.plain:8.1f} ms\n"
        f"  perturbed  {1000 * times.perturbed:8.1f} ms\n"
        f"  extra      {times.ratio:8.2f} of the plain time   (operators {1000 * times.construction:.1f} ms,"
        f" applying them {1000 * times.enhancement:.1f} ms)"
    )
    return dataclasses.asdict(times)

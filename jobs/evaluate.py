"""Measure retrieval: Recall@K of captions over indexed photos, in both directions and by object size.

Examples:
    qpert evaluate features --captions dataset_scenes.json
    qpert evaluate features --captions dataset_flickr30k.json --split test --annotations flickr30k_entities
    qpert evaluate perturbed --against plain --captions captions_val2014.json --annotations instances_val2014.json
    qpert evaluate features --captions captions.csv -k 1 5 10 --json r.json --csv r.csv --markdown r.md --figure r.svg

Recall@K is the share of queries with a right answer in the top K; text to image, a caption's photo; image to text,
any of the photo's captions. mR@K is the harmonic mean over ten bins of the largest object's area. A tie counts against
the query. Captions and photos are joined by file name, and the photos of the split are the gallery. Each figure has a
95 % interval, from resampled photos. --against OTHER takes the features OTHER as the baseline and measures what OUT
adds on the same queries: the difference, its interval, and the p of McNemar's exact test.

--rerank looks again at the 128 best photos of each caption, and the 128 best captions of each photo, by image-text
matching (BLIP-2), and orders them by matching score + cosine; objects act there if the features' perturbation has the
stage itm. It opens the photos again, on Ray, on the GPU types that they were indexed on, where there are such
(--accelerators); where machines are lost it begins anew with those that are left. Its scores are kept in OUT/rerank.
The rest is done in this process.
Shown are both orders and their difference; with --against, the two sets, re-ranked.

Where Ray is there already (--address, RAY_ADDRESS, a submitted job) the measurement is one Ray task, so that it runs
beside the features and not where the command was typed. Otherwise it runs in this process: starting Ray for a single
task would only cost time.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.model_weights import absolute_weights
from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText
from pipeline.reports.recall_plot import check_plot_path, plot_recall_by_size
from pipeline.reports.recall_report import as_csv, as_json, as_markdown, as_text
from pipeline.retrieval import Evaluation, embed_texts, evaluate, load_text_encoder
from pipeline.retrieval.intervals import SAMPLES
from pipeline.retrieval.measurement import Measurement, measurement, paired_measurement
from pipeline.runs.options import WAIT, OnMachines, ReadOptions

CANDIDATES = 128
"""LAVIS' k_test."""


class MeasuringOptions(BaseModel):
    """Which features, which captions, and what to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field(description="folder or URI that qpert index wrote", json_schema_extra={"positional": True})
    captions: LocalPath = Field(
        description="captions: Karpathy, LAVIS or COCO JSON, or a table (.csv, .tsv, .jsonl, .parquet)"
    )
    split: str = Field("test", description="the split to evaluate, if the captions have splits; all for every image")
    annotations: LocalPath | None = Field(
        None,
        description="size bins by these boxes instead of the indexed objects: Flickr30K Entities folder, "
        "COCO instances_*.json, or COCO Entities JSON",
    )
    against: PathText | None = Field(None, description="features of the same photos to compare with (the baseline)")
    rerank: bool = Field(False, description="order the best by image-text matching as well (BLIP-2)")
    rerank_k: int | None = Field(None, ge=1, description="how many of the best to look at again (default: 128)")
    k: list[int] = Field([1, 5, 10], min_length=1, description="the K of Recall@K", json_schema_extra={"flag": "-k"})
    samples: int = Field(SAMPLES, ge=100, description="resamples of the bootstrap intervals")
    seed: int = Field(0, ge=0, description="of the resamples")
    json_file: ReportPath | None = Field(
        None, description="also write the figures to this file", json_schema_extra={"flag": "--json"}
    )
    csv_file: ReportPath | None = Field(
        None, description="also write the figures to this table, a row each", json_schema_extra={"flag": "--csv"}
    )
    markdown_file: ReportPath | None = Field(
        None, description="also write the tables to this file", json_schema_extra={"flag": "--markdown"}
    )
    figure: ReportPath | None = Field(None, description="draw recall by object size: a .png or .svg file")
    variant: str | None = Field(None, description="which embedding, of a set that has several (qpert reproduce)")
    against_variant: str | None = Field(None, description="the same of --against")
    image_column: str | None = Field(None, description="captions in a table: column of file names, if unusual")
    caption_column: str | None = Field(None, description="captions in a table: column of captions, if unusual")
    weights: WeightsText | None = Field(
        None,
        description="the encoder's weights, where they are files: what a feature set names is not opened unasked",
    )
    against_weights: WeightsText | None = Field(None, description="the same of --against, where they are others")
    device: str = Field("cpu", description="torch device for the captions")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32",
        description="of the encoder for the captions; bfloat16 halves the memory of a large one",
    )
    address: str | None = Field(None, description="Ray cluster to measure on; otherwise RAY_ADDRESS, or this process")
    cpus: int | None = Field(None, ge=1, description="CPU cores for a Ray session that --rerank starts (default: all)")
    accelerators: list[str] | None = Field(
        None, description="GPU types for --rerank, by Ray's names, or none (default: those of the features, else all)"
    )
    wait: float = WAIT
    patience: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="minutes without anything done after which --rerank counts as stuck and begins anew where it was"
        " (default: that of the features)",
    )
    verbose: bool = Field(False, description="show Ray's own messages")

    @field_validator("figure")
    @classmethod
    def _drawable(cls, path: str | None) -> str | None:
        """Said before the work, not after it."""
        try:
            if path is not None:
                check_plot_path(path)
        except QpertError as error:
            raise ValueError(str(error)) from error
        return path


class Config(ReadOptions, MeasuringOptions):
    """The options of ``qpert evaluate``; where photos may be read is for --rerank, which opens them again."""


def run(config: Config) -> int:
    """Measures, prints the tables and writes the files."""
    if config.rerank_k is not None and not config.rerank:
        raise QpertError("--rerank-k says how many to look at again with --rerank, which is not given")
    work = _reranked if config.rerank else _on_ray if _ray_is_there(config) else measure_all
    found = work(config)
    by = "annotated" if config.annotations else "indexed"
    print(as_text(found, by=by))
    written = []
    for path, text in (
        (config.json_file, as_json(found)),
        (config.csv_file, as_csv(found)),
        (config.markdown_file, as_markdown(found, by=by)),
    ):
        if path is not None:
            _write(path, text)
            written.append(path)
    if config.figure is not None:
        plot_recall_by_size(found, config.figure, by=by)
        written.append(config.figure)
    if written:
        print(f"\nfigures: {', '.join(written)}")
    return 0


def measure_all(config: Config) -> Measurement:
    """Everything that is to be printed: plain data in and out, so that a Ray task can call it."""
    captions, areas = _ground_truth(config)
    result = _evaluate(config, config.out, config.variant, captions, areas)
    new, old = _names(config)
    if config.against is None:
        return measurement((new, result), samples=config.samples, seed=config.seed)
    before = _evaluate(_baseline(config), config.against, config.against_variant, captions, areas)
    return paired_measurement((new, result), (old, before), samples=config.samples, seed=config.seed)


def measure(config: Config) -> Evaluation:
    """The evaluation of one feature set, `config.out`, without intervals."""
    return _evaluate(config, config.out, config.variant, *_ground_truth(config))


def annotated_areas(path: str, captions: list[CaptionedImage], features: FeatureSet) -> dict[str, float]:
    """Largest box's area (fraction of the photo) by image id, from annotations in any form that `read_boxes` knows.

    Images without a box are left out: they have no size. Where the annotations do not say how large a photo is, the
    features do.

    Raises:
        QpertError: the annotations cannot be read, or annotate none of the images.
    """
    from pipeline.datasets.boxes.areas import largest_areas
    from pipeline.datasets.boxes.reading import read_boxes
    from pipeline.datasets.names import Names

    sizes = {
        PurePosixPath(row["image_id"]).name: (row["width"], row["height"])
        for block in features.iter_blocks(["image_id", "width", "height"])
        for row in block.to_pylist()
    }
    known = Names(sizes)
    return largest_areas(read_boxes(path), captions, lambda image_id: sizes.get(known.find(image_id) or ""))


def _ground_truth(config: Config) -> tuple[list[CaptionedImage], dict[str, float] | None]:
    """Captions, and the annotated areas if these are asked for."""
    captions = read_captions(
        config.captions,
        None if config.split == "all" else config.split,
        image_column=config.image_column,
        caption_column=config.caption_column,
    )
    if config.annotations is None:
        return captions, None
    return captions, annotated_areas(config.annotations, captions, FeatureSet.open(config.out, config.variant))


def _baseline(config: Config) -> Config:
    """With the weights of --against."""
    return config.model_copy(update={"weights": config.against_weights or config.weights})


def _evaluate(
    config: Config, out: str, variant: str | None, captions: list[CaptionedImage], areas: dict[str, float] | None
) -> Evaluation:
    features = FeatureSet.open(out, variant)
    encoder = load_text_encoder(features, weights=config.weights, device=config.device, dtype=config.dtype)
    candidates = (config.rerank_k or CANDIDATES) if config.rerank else None
    return evaluate(
        features, captions, lambda texts: embed_texts(encoder, texts), areas=areas, ks=config.k, candidates=candidates
    )


def _reranked(config: Config) -> Measurement:
    """What matching adds to the order by contrast; with a baseline, what OUT adds to that, both re-ranked."""
    from pipeline.runs.reranking import check_reranking, rerank_sets

    sets = [(config.out, config.variant)]
    sets += [(config.against, config.against_variant)] if config.against else []
    check_reranking([out for out, _ in sets])
    truth = _ground_truth(config)
    configs = [config, _baseline(config)][: len(sets)]
    before = [_evaluate(of_set, *each, *truth) for of_set, each in zip(configs, sets, strict=True)]
    weights = [each.weights for each in configs]
    after = rerank_sets(sets, before, weights=weights, machines=OnMachines.of(config), rules=config.rules())
    new, old = _names(config)
    matched = f"+ ITM of {config.rerank_k or CANDIDATES}"
    baseline = (f"{old} {matched}", after[1]) if config.against else (new, before[0])
    return paired_measurement((f"{new} {matched}", after[0]), baseline, samples=config.samples, seed=config.seed)


def _ray_is_there(config: Config) -> bool:
    """Whether a cluster is named or joined. Ray is not imported for the question: that takes seconds."""
    if config.address or os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _on_ray(config: Config) -> Measurement:
    """`measure_all` as one Ray task; its warnings and errors come out here."""
    from pipeline.cluster.session import ray_session

    with ray_session(config.address):
        import ray

        from pipeline.cluster.machines import SMALL
        from pipeline.cluster.waiting import result_of

        gpus = 1 if config.device.startswith("cuda") else 0
        task = ray.remote(num_cpus=SMALL, num_gpus=gpus, max_retries=1)(_task)
        try:
            found: Measurement
            found, said = result_of(task.remote(_at_home_everywhere(config)), "evaluate")
        except ray.exceptions.RayTaskError as error:
            # The cause alone: the message around it holds a traceback from the worker.
            raise error.cause if isinstance(error.cause, QpertError) else error from None
    for category, message in said:
        warnings.warn(message, category, stacklevel=2)
    return found


def _task(config: Config) -> tuple[Measurement, list[tuple[type[Warning], str]]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = measure_all(config)
    return found, [(each.category, str(each.message)) for each in caught if issubclass(each.category, UserWarning)]


def _at_home_everywhere(config: Config) -> Config:
    """Local paths in full: a worker's working directory is another one."""
    paths = {name: getattr(config, name) for name in ("out", "against", "captions", "annotations")}
    full = {name: os.path.abspath(path) for name, path in paths.items() if path and os.path.exists(path)}
    weights = {name: absolute_weights(getattr(config, name)) for name in ("weights", "against_weights")}
    return config.model_copy(update=full | weights)


def _names(config: Config) -> tuple[str, str]:
    """What the tables call OUT and OTHER: the last part of their paths, where these differ."""
    paths = (config.out.rstrip("/"), (config.against or "").rstrip("/"))
    short = (paths[0].rpartition("/")[2], paths[1].rpartition("/")[2])
    first, second = short if short[0] != short[1] else paths
    return config.variant or first, config.against_variant or second


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write {path}: {error.strerror}") from error

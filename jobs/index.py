"""Index photos: find their objects, embed them object-aware, write Parquet features.

Examples:
  qpert index photos/ --out features/                       a folder, with subfolders
  qpert index 's3://bucket/photos/**/*.jpg' --out s3://bucket/features
  qpert index photos.txt --out features/                    a list: one path or URI per line
  qpert index photos.parquet --out features/ --uri-column url --id-column photo_id
  qpert index shards/ --out features/                       webdataset tars
  qpert index photos/ --out plain/ --perturbation none      plain embeddings, to compare with
  qpert index photos/ --out features/ --encoder coca --weights coca_ViT-L-14:laion2b_s13b_b90k --detector yolo11n.pt
  qpert index photos/ --out features/ --dry-run             say what would be done

Interrupted? Run the same command again: it goes on where it stopped. Photos added to the source since are indexed too.
A photo that cannot be indexed is a row with its reason in the column `error`; all others are indexed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from jobs.options import PerturbationConfig
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.datasets.photos import Listing, Shards
    from pipeline.features import Manifest
    from pipeline.stages.graph import Graph
    from pipeline.stages.pools import Machines
    from pipeline.stages.resume import Resume


class Config(BaseModel):
    """The options of ``qpert index``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        description="folder, glob, list file, Parquet or webdataset tars; local or s3://, gs://, ...",
        json_schema_extra={"positional": True},
    )
    out: str = Field(description="folder or URI for the features; all nodes of a cluster must see it")
    encoder: str = Field("coca", description="name of the encoder")
    weights: str | None = Field(None, description="weights of the encoder: a tag, a hub id or a path; else miniature")
    detector: DetectorConfig = Field(
        DetectorConfig(), description="how objects are found", json_schema_extra={"short": "model"}
    )
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(), description="how objects act on the embedding", json_schema_extra={"short": "preset"}
    )
    precision: Literal["float16", "float32"] = Field("float16", description="of the stored embeddings; Spark: float32")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="to compute in; auto: what each GPU is good at, float32 on CPUs"
    )
    uri_column: str | None = Field(None, description="Parquet: column that names the photos")
    bytes_column: str | None = Field(None, description="Parquet: column with the encoded photos, such as image.bytes")
    id_column: str | None = Field(None, description="Parquet: column with unique ids")
    limit: int | None = Field(None, ge=1, description="index only the first so many photos")
    batch_size: int = Field(32, ge=1, description="photos per call of a model; halved when GPU memory runs out")
    block_size: int | None = Field(None, ge=1, description="photos per unit of work (default: 64 at most)")
    file_size: int | None = Field(
        None, ge=1, description="photos per Parquet file, the unit of resume (default: by the number of photos)"
    )
    max_megapixels: float = Field(100, gt=0, description="larger photos are refused")
    accelerators: list[str] | None = Field(
        None,
        description="GPU types to use, by Ray's names (A100 GeForce-GTX-1080-Ti), or none (default: every GPU)",
    )
    detect_actors: int | None = Field(None, ge=1, description="actors that detect (default: by the machines)")
    encode_actors: int | None = Field(None, ge=1, description="actors that encode (default: by the machines)")
    detect_gpus: float | None = Field(None, gt=0, description="share of a GPU per detect actor (default: half)")
    encode_gpus: float | None = Field(None, gt=0, description="share of a GPU per encode actor (default: half)")
    address: str | None = Field(None, description="Ray cluster to join; auto for the one here (default: RAY_ADDRESS)")
    cpus: int | None = Field(None, ge=1, description="CPU cores for a Ray session started here (default: all)")
    strict: bool = Field(False, description="exit with 1 when a photo failed")
    dry_run: bool = Field(False, description="print what would be done and stop")
    verbose: bool = Field(False, description="show Ray's own messages and progress bars")


def run(config: Config) -> int:
    """Index `config.source` into `config.out`."""
    from pipeline.datasets.photos import find_photos
    from pipeline.encoders import list_encoders
    from pipeline.stages.resume import inspect

    if config.encoder not in list_encoders():
        raise QpertError(f"unknown encoder {config.encoder!r}; there are: {', '.join(list_encoders())}")
    if config.detector.model == "none" and config.perturbation.preset != "none":
        raise QpertError("a perturbation needs objects: choose a --detector, or --perturbation none")
    photos = find_photos(
        config.source, uri_column=config.uri_column, bytes_column=config.bytes_column, id_column=config.id_column
    )
    what = identity(config)
    resume = inspect(config.out, what, photos, config.limit)
    if config.dry_run:
        print(_plan(config, photos, what, resume))
        return 0
    if resume.manifest is not None and resume.todo == 0:
        return _nothing_to_do(config, resume)
    return _index(config, photos, what, resume)


def identity(config: Config) -> dict[str, Any]:
    """Everything that changes the features, and nothing else; plain JSON values."""
    from pipeline.features import FORMAT_VERSION
    from pipeline.stages.identity import bundled, weights_identity
    from pipeline.storage import absolute

    perturbation = config.perturbation.build()
    detector = config.detector.model_dump(mode="json")
    detector["model"] = weights_identity(bundled(config.detector.model, "yolo.pt"))
    if config.detector.annotations:
        detector["annotations"] = weights_identity(config.detector.annotations)
    what = {
        "format": FORMAT_VERSION,
        "source": absolute(config.source),
        "columns": [config.uri_column, config.bytes_column, config.id_column],
        "encoder": {"name": config.encoder, "weights": weights_identity(bundled(config.weights, config.encoder))},
        "detector": None if config.detector.model == "none" else detector,
        "perturbation": perturbation and dataclasses.asdict(perturbation),
        "precision": config.precision,
        "dtype": config.dtype,
        "max_megapixels": config.max_megapixels,
    }
    return cast("dict[str, Any]", json.loads(json.dumps(what)))


def make_manifest(config: Config, what: dict[str, Any]) -> Manifest:
    """The manifest of a new run."""
    from pipeline.features import Manifest
    from pipeline.stages.identity import fingerprint

    return Manifest(
        fingerprint=fingerprint(what),
        identity=what,
        config=config.model_dump(mode="json"),
        encoder=what["encoder"],
        precision=config.precision,
        versions={"python": platform.python_version(), **{name: version(name) for name in ("ray", "torch", "pyarrow")}},
    )


def block_rows(todo: int | None) -> int:
    """Photos per unit of work: 64, or as many as give some 16 units in a small run."""
    return 64 if todo is None else max(8, min(64, todo // 16))


def file_rows(todo: int | None, block: int) -> int:
    """Photos per file: some 32 files, so that little is lost when a run is cut off, but never more than 8,192."""
    return max(block, min(8192, (todo or 10**6) // 32))


def build_graph(
    config: Config, photos: Listing | Shards, what: dict[str, Any], todo: int | None, machines: Machines
) -> Graph:
    """The graph of a run over `todo` photos (None: unknown) on `machines`."""
    from pipeline.detectors import load_detector
    from pipeline.encoders import load_encoder
    from pipeline.stages.actor import Worker
    from pipeline.stages.graph import Graph
    from pipeline.stages.identity import fingerprint
    from pipeline.stages.pools import plan_pools

    detects = config.detector.model != "none"
    block = config.block_size or block_rows(todo)
    return Graph(
        photos=photos,
        out=config.out,
        fingerprint=fingerprint(what),
        make_encoder=partial(load_encoder, config.encoder, weights=config.weights),
        make_detector=partial(load_detector, config.detector) if detects else None,
        perturbation=config.perturbation.build(),
        precision=config.precision,
        pools=plan_pools(
            machines,
            ["detect", "encode"] if detects else ["encode"],
            accelerators=config.accelerators,
            sizes={"detect": config.detect_actors, "encode": config.encode_actors},
            num_gpus={"detect": config.detect_gpus, "encode": config.encode_gpus},
            cpu_only=("detect",) if config.detector.model == "annotated" else (),
            blocks=None if todo is None else max(1, -(-todo // block)),
        ),
        worker=Worker(dtype=config.dtype, micro_batch=config.batch_size, max_pixels=round(config.max_megapixels * 1e6)),
        block_rows=block,
        file_rows=config.file_size or file_rows(todo, block),
        limit=config.limit,
    )


def _index(config: Config, photos: Listing | Shards, what: dict[str, Any], resume: Resume) -> int:
    from pipeline.detectors import list_detectors
    from pipeline.stages.progress import gpu_warning, summary
    from pipeline.stages.run import index_photos

    if config.detector.model not in list_detectors():
        from pipeline.detectors.yolo import find_weights

        find_weights(config.detector.model)  # here, so that what is missing shows, or is downloaded, once

    manifest = make_manifest(config, what)
    if resume.manifest is not None:
        print(f"going on in {config.out}: {resume.done:,} photos are done", file=sys.stderr)
        manifest = manifest.model_copy(update={"vectors": resume.manifest.vectors, "dim": resume.manifest.dim})
    outcome = index_photos(
        partial(build_graph, config, photos, what, resume.todo),
        manifest,
        config.out,
        todo=resume.todo,
        address=config.address,
        cpus=config.cpus,
        verbose=config.verbose,
    )
    print(summary(outcome.counts, outcome.seconds))
    warning = gpu_warning(outcome.counts, outcome.gpus, config.accelerators)
    if warning:
        print(warning, file=sys.stderr)
    return _finish(config, resume, outcome.totals)


def _nothing_to_do(config: Config, resume: Resume) -> int:
    from pipeline.features import count_rows

    assert resume.manifest is not None
    totals = count_rows(config.out, resume.manifest)
    resume.manifest.model_copy(update={"state": "complete", "counts": totals}).write(config.out)
    print(f"nothing to do: all {resume.total:,} photos are indexed")
    return _finish(config, resume, totals)


def _finish(config: Config, resume: Resume, totals: dict[str, int]) -> int:
    if resume.removed:
        print(f"kept    {resume.removed:,} indexed photos that the source no longer has")
    print(f"{config.out} holds {totals['photos'] - totals['failed']:,} photos with {totals['objects']:,} objects")
    if not totals["failed"]:
        return 0
    print(f"warning: {totals['failed']:,} photos could not be indexed; the column error says why", file=sys.stderr)
    return 1 if config.strict else 0


def _plan(config: Config, photos: Listing | Shards, what: dict[str, Any], resume: Resume) -> str:
    """What would be done. Ray is started only where the answer depends on a cluster or on its names for GPUs."""
    from pipeline.stages.identity import fingerprint
    from pipeline.stages.pools import Machines
    from pipeline.stages.session import ray_session

    if config.address or os.environ.get("RAY_ADDRESS") or config.accelerators not in (None, ["none"]):
        with ray_session(config.address, cpus=config.cpus, verbose=config.verbose):
            machines = Machines.cluster()
    else:
        machines = Machines.here(config.cpus)
    graph = build_graph(config, photos, what, resume.todo, machines)
    found = "counted while they are read" if resume.total is None else f"{resume.total:,} photos"
    models = {"detect": config.detector.model, "encode": f"{config.encoder}, {config.weights or 'miniature'}"}
    lines = {
        "source": f"{config.source}: {photos.kind}, {found}",
        "machines": str(machines),
        "read": f"blocks of {graph.block_rows} photos",
        **{stage: f"{pool} ({models[stage]})" for stage, pool in graph.pools.items()},
        "write": f"{config.out}/features: files of {graph.file_rows:,} photos, {config.precision}",
        "perturbation": ", ".join(f"{name} {value}" for name, value in (what["perturbation"] or {}).items()) or "none",
        "fingerprint": fingerprint(what),
        "output": "new" if resume.manifest is None else f"{resume.manifest.state}, {resume.done:,} photos are done",
        "to do": "unknown before reading" if resume.todo is None else f"{resume.todo:,} photos",
    }
    return "\n".join(f"{name:<13} {text}" for name, text in lines.items())

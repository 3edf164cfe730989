"""Measure what things cost: the pipeline, Q-Perturbation in a full-size Q-Former or BLIP-2, evaluation, search.

Examples:
  qpert benchmark                           pipeline and query-former, with 2,000 scenes and the miniature models
  qpert benchmark pipeline --source photos/ --photos 500 --detector yolo11n.pt
  qpert benchmark start                     what the first minute is spent on: commands, imports, Ray, 500 scenes
  qpert benchmark query-former              only the extra time of Q-Perturbation at BLIP-2's size
  qpert benchmark blip2                     its share of a whole pass, with ViT-g, and captions; needs some 6 GB
  qpert benchmark internvl                  its cost in InternVL-14B's layers, by number of objects; needs some 4 GB
  qpert benchmark open-clip                 its share of a whole pass of SigLIP2 and PE-Core; needs some 6 GB
  qpert benchmark gpu --json gpu.json       what this machine's GPU does, and whether it is right: ten minutes
  qpert benchmark rivals                    its price beside regions, crops, tiles, clusters and a higher resolution
  qpert benchmark tune                      fifty settings of tune against one cold evaluation, BLIP-2; needs some 6 GB
  qpert benchmark graph                     reading, writing and bookkeeping alone: 20,000 and 200,000 tiny photos
  qpert benchmark far                       reading from a bucket 20 ms away, against the same from disk
  qpert benchmark evaluate                  COCO's 5,000 photos x 25,000 captions, simulated, 32 vectors each
  qpert benchmark search                    20,000 simulated photos with 32 vectors each, by an index and exactly
  qpert benchmark search --search.photos 100000 1000000 --tmp /data      a curve; a million take some 40 GB

pipeline: against a bare PyTorch loop. Both sides do the same work with the same models on the same photos: the bare
loop reads, decodes, detects and encodes in batches, in one process with all cores; the pipeline also checks, retries,
writes Parquet and can resume. Warm-up is not counted on either side, and is reported separately: the first batch of the
bare loop; for the pipeline, everything until all actors are up and a first batch is done, where photos that are halfway
by then count by the work left on them. The bare loop runs before and after, to show whether the machine is busy with
other work.

start: what passes until the first photo is indexed and the first hit is shown, with the miniatures, each part in
processes of its own. The medians of three, but of one cold run.

blip2: the whole model at its real size, ViT-g, Q-Former and language head, with random weights in float32: what
Q-Perturbation adds to a pass from pixels to embeddings, and to writing a caption of 30 tokens for each photo. One
photo, six boxes and torch's own number of threads, unless --blip2.images, --blip2.objects and --cpus say otherwise.
Threads that share a core wait for each other and spoil the figures: give fewer --cpus if other work is running.

internvl: one layer of each kind at its real size, with random weights in float32, for one photo, multiplied by how
often the model has it: the cost of all sixteen cross-attentions, and of four of them.

open-clip: whole image passes of open_clip's models (--open-clip.models) at their real size, with random weights in
float32. One photo, six boxes and torch's own number of threads, unless options say otherwise.

gpu: without Ray and without downloads: every family of encoders at its real size with random weights, in bfloat16 and
float16: images per second by batch, memory, and the parts of Q-Perturbation; embeddings of the miniatures against the
CPU's; eigendecompositions by size of the batch, and whether they are right; decoding; recovery from a full memory. On
CUDA, ROCm or MPS. --gpu.device cpu rehearses all of it with the miniatures, where there is no GPU.

rivals: images per second, vectors, tower passes and bytes per photo of plain encoding, Q-Perturbation and what else
helps small objects (index --multi; --image-size of twice the side), by the encode stage without Ray, in turn on the
same scenes with their true boxes.

graph: images per second without models, memory of the driver and of the largest worker, number and size of the files,
by number of photos. The embeddings are as long as BLIP-2's: 200,000 photos take some 4 GB in --tmp.

far: images per second of a run whose photos of 150 kB are in a bucket, against the same run from disk, for folders,
tars and Parquet; with requests and bytes on the network per photo. The bucket is a small server on this machine whose
every answer is late; two made-up encoders take 10 ms a photo. Before each run, its reading alone, one task after the
other without Ray. A thousand photos take 450 MB in --tmp.

evaluate: time and peak memory of `qpert evaluate` without the encoder, against the matrix product that it cannot avoid
(run before and after, without reading), and against the usual way, which computes the full score matrix and sorts all
its rows and columns. Each runs in a process of its own.

search: building an index (qpert build-index), opening it, the times of single queries, queries per second of 1, 8 and
32 clients, the share of the exact search's ten best that is found, and memory: the process's own, and pages of mapped
files. Beside it the exact scan against a bare matrix product, and, where they are installed, usearch, LanceDB and
autofaiss, which clip-retrieval uses, up to --search.others photos: a vector per row, --search.fetched of them per
query, their photos compared again exactly.
--search.set measures a set of yours, --search.http a running server. Refuses if the disk would have less than 15 GB
left.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.benchmarks.options import FarConfig, GpuConfig, OpenClipPassConfig, PassConfig, RivalsConfig, SizesConfig
from pipeline.benchmarks.search_options import SearchOptions
from pipeline.detectors import check_packages
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath, PathText, ReportPath, WeightsText
from pipeline.runs.perturbation_config import PerturbationConfig
from pipeline.runs.spec import IndexSpec

Part = Literal[
    "pipeline",
    "start",
    "query-former",
    "blip2",
    "internvl",
    "open-clip",
    "gpu",
    "rivals",
    "tune",
    "graph",
    "far",
    "evaluate",
    "search",
]


class Config(BaseModel):
    """What to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: list[Part] = Field(
        ["pipeline", "query-former"],
        min_length=1,
        description="what to measure: pipeline, start, query-former, blip2, internvl, open-clip, gpu, rivals, tune,"
        " graph, far, evaluate, search",
        json_schema_extra={"positional": True},
    )
    source: PathText | None = Field(None, description="folder or list of local photos (default: scenes)")
    photos: int = Field(2000, ge=64, description="how many photos")
    encoder: str = Field("coca", description="name of the encoder")
    weights: WeightsText | None = Field(None, description="weights of the encoder (default: miniature)")
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
    cpus: int | None = Field(None, ge=1, description="CPU cores for all sides (default: all)")
    repetitions: int = Field(9, ge=1, description="of query-former's and internvl's passes; the medians are reported")
    blip2: PassConfig = Field(PassConfig(), description="the passes of blip2 and tune")
    open_clip: OpenClipPassConfig = Field(OpenClipPassConfig(), description="the passes of open-clip")
    gpu: GpuConfig = Field(GpuConfig(), description="what gpu measures")
    rivals: RivalsConfig = Field(RivalsConfig(), description="the photos of rivals")
    evaluation: SizesConfig = Field(SizesConfig(), description="the simulated data set of evaluate")
    search: SearchOptions = Field(SearchOptions(), description="the sets of search")
    graph_photos: list[int] = Field([20_000, 200_000], min_length=1, description="numbers of photos of graph")
    far: FarConfig = Field(FarConfig(), description="the bucket of far")
    start_photos: int = Field(500, ge=1, description="scenes that start indexes")
    tmp: LocalPath | None = Field(None, description="folder for temporary files (default: the system's)")
    json_file: ReportPath | None = Field(
        None, description="write the figures to this file as well", json_schema_extra={"flag": "--json"}
    )


def run(config: Config) -> int:
    """Measures, and prints the figures."""
    if config.tmp is not None and not Path(config.tmp).is_dir():
        raise QpertError(f"--tmp {config.tmp}: there is no such folder")
    scratch = partial(tempfile.TemporaryDirectory, prefix="qpert-benchmark-", dir=config.tmp)
    if {"pipeline", "start"} & set(config.parts):
        check_packages(config.detector)
    measures = {
        "pipeline": _pipeline,
        "start": _start,
        "query-former": _query_former,
        "blip2": _blip2,
        "internvl": _internvl,
        "open-clip": _open_clip,
        "gpu": _gpu,
        "rivals": _rivals,
        "tune": _tune,
        "graph": _graph,
        "far": _far,
        "evaluate": _evaluate,
        "search": _search,
    }
    figures: dict[str, Any] = {}
    for part, measure in measures.items():
        if part in config.parts:
            with scratch() as folder:
                figures[part.replace("-", "_")] = measure(config, Path(folder))
    if config.json_file:
        Path(config.json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _pipeline(config: Config, folder: Path) -> dict[str, Any]:
    # Each part imports what it needs: some take seconds, and `--help` none of them.
    from pipeline.benchmarks.pipeline_rate import measure_pipeline
    from pipeline.datasets.scenes import write_scenes

    source = config.source
    if source is None:
        write_scenes(folder / "scenes", config.photos, seed=2)
        source = str(folder / "scenes" / "images")
    options = {name: value for name, value in config if name in IndexSpec.model_fields}
    spec = IndexSpec(**options | {"source": source, "out": str(folder / "out"), "limit": config.photos})
    rates = measure_pipeline(spec, config.cpus or os.cpu_count() or 1, config.batch_size)
    return _shown(rates) | {"bare": rates.bare, "ratio": rates.ratio}


def _start(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.start import measure_start

    return _shown(measure_start(folder, config.start_photos))


def _query_former(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.query_former import measure_query_former

    _set_threads(config.cpus or os.cpu_count())
    return _shown(measure_query_former(repetitions=config.repetitions, perturbation=config.perturbation.build()))


def _blip2(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.blip2_pass import full_size, measure_blip2

    _set_threads(config.cpus)
    passes, perturbation = config.blip2, config.perturbation.build()
    sizes = full_size(passes.image_size)
    return _shown(measure_blip2(sizes, passes.images, passes.objects, passes.repetitions, perturbation))


def _internvl(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.internvl_layers import measure_layers

    _set_threads(config.cpus)
    return _shown(measure_layers(repetitions=config.repetitions, perturbation=config.perturbation.build()))


def _open_clip(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.open_clip_pass import measure_models

    _set_threads(config.cpus)
    passes = config.open_clip
    return _shown(
        measure_models(passes.models, passes.images, passes.objects, passes.repetitions, config.perturbation.build())
    )


def _gpu(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.gpu.measuring import measure_gpu

    _set_threads(config.cpus)
    return _shown(measure_gpu(config.gpu, config.perturbation.build()))


def _rivals(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.rivals import measure_rivals

    _set_threads(config.cpus)
    costs = measure_rivals(
        folder,
        config.encoder,
        config.weights,
        config.perturbation.build(),
        photos=config.rivals.photos,
        batch=config.batch_size,
        repetitions=config.rivals.repetitions,
    )
    return _shown(costs)


def _tune(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.tuning_cost import measure_tuning

    _set_threads(config.cpus)
    passes = config.blip2
    times = measure_tuning(passes.image_size, passes.images, passes.objects, passes.repetitions)
    return _shown(times) | {"ratio": times.ratio}


def _set_threads(count: int | None) -> None:
    import torch

    torch.set_num_threads(count or torch.get_num_threads())


def _shown(times: Any) -> dict[str, Any]:
    print(times)
    return dataclasses.asdict(times)


def _graph(config: Config, folder: Path) -> list[dict[str, Any]]:
    from pipeline.benchmarks.graph_alone import measure_graph, write_tiny

    write_tiny(folder / "tiny", max(config.graph_photos))
    return [_shown(measure_graph(folder / "tiny", photos, config.cpus)) for photos in config.graph_photos]


def _far(config: Config, folder: Path) -> list[dict[str, Any]]:
    from pipeline.benchmarks.far import measure_far

    far = config.far
    figures = measure_far(folder, far.photos, far.delay / 1000, far.sources, config.cpus or 4, runs=far.runs)
    return [_shown(costs) | {"ratio": costs.ratio} for costs in figures]


def _evaluate(config: Config, folder: Path) -> dict[str, Any]:
    from pipeline.benchmarks.evaluation import Sizes, measure_evaluation

    costs = measure_evaluation(Sizes(**config.evaluation.model_dump()), folder, threads=config.cpus)
    return _shown(costs) | {"ratio": costs.ratio, "cpu_ratio": costs.cpu_ratio}


def _search(config: Config, folder: Path) -> list[dict[str, Any]]:
    from pipeline.benchmarks.search import measure_search

    return [_shown(figures) for figures in measure_search(config.search, folder)]

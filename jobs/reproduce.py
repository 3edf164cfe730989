r"""Reproduce the paper's tables: index once under all their settings, measure each, print ours beside the paper's.

Examples:
  qpert reproduce                                          the miniature models on 1,000 scenes, offline
  qpert reproduce --preset flickr30k --images flickr30k-images --captions dataset_flickr30k.json \
        --annotations flickr30k_entities --encoder coca --weights coca_ViT-L-14:TAG --detector yolo11x.pt
  qpert reproduce --preset coco --images val2014 --captions dataset_coco.json --annotations instances_val2014.json ...

The photos pass the backbone once with the true boxes, under all settings of tables A, C and D and one for each switch
between the paper and the released code, and once more with detected boxes. Then a Ray task measures every setting. With
BLIP-2 the best are also re-ranked by image-text matching, plain and perturbed, and on scenes figure B is counted: how
often the caption names an emphasised object. After an interruption, the same command goes on where it stopped. The
report, its tables as CSV, and the figures are in --out.
"""

from __future__ import annotations

import shlex
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from pipeline import __version__
from pipeline.detectors import check_packages
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.io.writable import check_writable
from pipeline.printing import printable
from pipeline.runs.options import AnnotationOptions, RunOptions
from pipeline.runs.perturbation_config import MINIATURE, MINIATURES, PerturbationConfig

if TYPE_CHECKING:
    from pipeline.experiments.material import Material
    from pipeline.reproduction.experiment import Experiment
    from pipeline.reproduction.result import Result

PAPER = PerturbationConfig(weight="constant", scale=10, threshold=0.9)
"""The paper does not state the setting of Table A; this one has its highest Recall@1 for small objects."""
FINER = (0.1, 0.25, 0.5, 1.0)
"""Further scales for the miniature: the paper's 2 to 10 are too strong for its single layer."""
FIGURE_B = 500
"""Maximum number of scenes for figure B."""


class Config(AnnotationOptions, RunOptions):
    """What to reproduce, with which models, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["miniature", "flickr30k", "coco"] = Field("miniature", description="the data set")
    out: LocalPath = Field("reproduction", description="folder for features and reports; all nodes must see it")
    images: PathText | None = Field(None, description="folder of the photos (with subfolders)")
    captions: LocalPath | None = Field(None, description="captions in any form that qpert evaluate reads")
    annotations: LocalPath | None = Field(None, description="true boxes in any form that qpert evaluate reads")
    split: str = Field("test", description="split of the captions; all for every image")
    encoder: str | None = Field(None, description="name of the encoder (miniature: every one that has a miniature)")
    weights: WeightsText | None = Field(None, description="its weights (default: its miniature)")
    detector: DetectorConfig = Field(
        DetectorConfig(),
        description="detector to compare with the true boxes",
        json_schema_extra={"short": "model"},
    )
    perturbation: PerturbationConfig | None = Field(
        None,
        description="perturbation of Table A (default: constant, 10, 0.9; miniatures: chosen on other scenes)",
        json_schema_extra={"short": "preset"},
    )
    rerank_k: int | None = Field(
        None, ge=1, description="BLIP-2: how many of the best to re-rank by matching (default: 128; miniature: 16)"
    )
    scenes: int = Field(1000, ge=50, description="miniature: number of scenes")
    samples: int = Field(2000, ge=100, description="bootstrap resamples of each interval")
    seed: int = Field(0, description="seed of the bootstrap")
    device: str = Field("cpu", description="torch device of Table B and of the texts")
    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Reproduces, and prints the report and its place."""
    check_packages(config.detector)
    # Imported here, as below, because --help must not wait for torch.
    from pipeline.detectors import check_annotations, check_detector
    from pipeline.experiments.material import draw_scenes, find_material

    check_writable(config.out)
    encoders = _encoders(config)
    check_detector(config.detector, fetch=not config.dry_run)
    if config.strict_annotations:
        check_annotations(config.detector)
    folder = Path(config.out) / config.preset
    experiments = {name: _experiment(config, name) for name in encoders}
    if config.dry_run:
        print("\n".join(experiment.plan() for experiment in experiments.values()))
        return 0
    if config.preset == "miniature":
        material = draw_scenes(Path(config.out), config.scenes)
    else:
        paths = str(config.images), str(config.captions), str(config.annotations)
        material = find_material(folder, *paths, config.split, strict=config.strict_annotations)
    if material.remark:
        print(f"warning: {printable(material.remark)}", flush=True)
    results = {name: experiment.run(material) for name, experiment in experiments.items()}
    for name, result in results.items():
        _write(config, folder / name, name, material, result)
    return 0


def _encoders(config: Config) -> list[str]:
    from pipeline.encoders import check_perturbable, miniature_encoders

    if config.preset != "miniature":
        needed = {name: getattr(config, name) for name in ("images", "captions", "annotations", "encoder", "weights")}
        missing = [f"--{name}" for name, value in needed.items() if value is None]
        if missing:
            raise QpertError(f"reproduce --preset {config.preset} needs {', '.join(missing)}")
    elif config.images or config.captions or config.annotations:
        raise QpertError(
            "--images, --captions and --annotations are for flickr30k and coco; the miniature draws its own scenes"
        )
    chosen = [config.encoder] if config.encoder else miniature_encoders()
    for name in chosen:
        check_perturbable(name, config.weights)
    return chosen


def _experiment(config: Config, encoder: str) -> Experiment:
    from pipeline.experiments import paper
    from pipeline.reproduction.experiment import Experiment

    miniature = MINIATURES.get(encoder, MINIATURE)
    chosen = (config.perturbation or (miniature if config.preset == "miniature" else PAPER)).build()
    if chosen is None:
        raise QpertError("--perturbation none leaves nothing to compare")
    return Experiment(
        folder=str(Path(config.out) / config.preset / encoder),
        encoder=encoder,
        weights=config.weights,
        detector=config.detector,
        chosen=chosen,
        grids=(paper.SCALES, FINER) if config.preset == "miniature" else (paper.SCALES,),
        candidates=config.rerank_k or (16 if config.preset == "miniature" else 128),
        captioned=min(config.scenes, FIGURE_B) if config.preset == "miniature" else 0,
        device=config.device,
        cluster=config,
    )


def _write(config: Config, folder: Path, encoder: str, material: Material, result: Result) -> None:
    from pipeline.reproduction.reproduction_report import as_markdown, parts, write_figure_a, write_tables

    report = parts(result, samples=config.samples, seed=config.seed)
    title = f"{encoder} on {config.preset}"
    text = as_markdown(title, result, report, origin=_origin(config, encoder, result))
    (folder / "report.md").write_text(text, encoding="utf-8")
    write_tables(folder / "tables", report)
    gained, lost = write_figure_a(folder / "figure_a.html", title, material.captions, result, weights=config.weights)
    print(text)
    print(f"report: {folder}/report.md; tables as CSV: {folder}/tables")
    print(f"figure A: {folder}/figure_a.html (of the queries, Q-Perturbation gained {gained} and lost {lost})")


def _origin(config: Config, encoder: str, result: Result) -> str:
    """The command that makes this report again (without the folders and the cluster), its versions and the date."""
    from pipeline.experiments.variants import PLAIN

    words = ["qpert", "reproduce", "--encoder", encoder]
    for name in ("preset", "weights", "split", "rerank_k", "scenes", "samples", "seed"):
        value = getattr(config, name)
        if value != Config.model_fields[name].default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if config.detector != DetectorConfig():
        words += ["--detector", config.detector.model]
    versions = {"qpert": __version__, **result.variants[PLAIN].store.open(PLAIN).manifest.versions}
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Made by `{printable(shlex.join(words))}` on {date.today().isoformat()} with {made_with}."

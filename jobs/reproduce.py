r"""Reproduce the paper's tables, and prove what of the gain is the object's: index once, measure, print.

Examples:
  qpert reproduce                                          the miniature models on 1,000 scenes, offline
  qpert reproduce --table proof                            the table of proof alone, on two fresh series of scenes
  qpert reproduce --preset flickr30k --images flickr30k-images --captions dataset_flickr30k.json \
        --annotations flickr30k_entities --encoder coca --weights coca_ViT-L-14:TAG --detector yolo11x.pt
  qpert reproduce --preset coco --images val2014 --captions dataset_coco.json --annotations instances_val2014.json ...

The photos pass the backbone once with the true boxes, under all settings of tables A, C and D and one for each switch
between the paper and the released code, and once more with detected boxes. Then a Ray task measures every setting. With
BLIP-2 the best are also re-ranked by image-text matching, plain and perturbed, and on scenes figure B is counted: how
often the caption names an emphasised object. The report, its tables as CSV, and the figures are in
OUT/PRESET/ENCODER.

The table of proof sets a chosen setting beside controls that change one switch each (no subspace, other photos' boxes,
queries of unchanged length, ...), all embedded in one pass, and beside rivals that do not perturb. Choose the setting
on other photos, with `qpert tune --metric own-minus-shuffled`. Its page for all encoders is OUT/PRESET/proof.md.

After an interruption, the same command goes on where it stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline import __version__
from pipeline.detectors import check_packages
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.locations import join
from pipeline.io.writable import check_writable
from pipeline.printing import printable
from pipeline.reproduction.spec import ReproductionSpec
from pipeline.runs.perturbation_config import MINIATURE, MINIATURES, PerturbationConfig

if TYPE_CHECKING:
    from pipeline.experiments.material import Material
    from pipeline.reproduction.experiment import Experiment
    from pipeline.reproduction.proof.measuring import Proof, ProofExperiment
    from pipeline.reproduction.result import Result

PAPER = PerturbationConfig(preset="paper", weight="constant", scale=10, threshold=0.9)
"""The paper does not state the setting of Table A; this one has its highest Recall@1 for small objects."""
QPERT = PerturbationConfig(preset="qpert")
"""What the table of proof asks about: the default of an index."""
FINER = (0.1, 0.25, 0.5, 1.0)
"""Further scales for the miniature: the paper's 2 to 10 are too strong for its single layer."""
FIGURE_B = 500
"""Maximum number of scenes for figure B."""


class Config(ReproductionSpec):
    """The options of ``qpert reproduce``."""

    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Reproduces, and prints the report and its place."""
    if config.table != "proof":
        check_packages(config.detector)
    # Imported here, as below, because --help must not wait for torch.
    from pipeline.experiments.mirror import working_folder

    check_writable(config.out)
    with working_folder(config.out, config.address, dry_run=config.dry_run) as out:
        return _reproduce(config.model_copy(update={"out": out}), config.out)


def _reproduce(config: Config, shown: str) -> int:
    """All of it, into a local folder that is `shown` as another place."""
    from pipeline.detectors import check_annotations, check_detector
    from pipeline.experiments.material import draw_scenes

    encoders = _encoders(config)
    if config.table != "proof":
        check_detector(config.detector, fetch=not config.dry_run)
    if config.strict_annotations:
        check_annotations(config.detector)
    folder = _folder(config)
    shown = join(shown, folder.name)
    experiments = {name: _experiment(config, name) for name in encoders if config.table != "proof"}
    proofs = {name: _proof(config, name) for name in encoders if config.table != "paper"}
    series = config.series if config.preset == "miniature" else [0]
    if config.dry_run:
        plans = [experiment.plan() for experiment in experiments.values()]
        print("\n".join([*plans, *(proof.plan(len(series)) for proof in proofs.values())]))
        return 0
    if experiments:
        material = _material(config, folder)
        results = {name: experiment.run(material) for name, experiment in experiments.items()}
        for name, result in results.items():
            _write(config, folder / name, join(shown, name), name, material, result)
    if proofs:
        if config.preset == "miniature":
            drawn = partial(draw_scenes, Path(config.out), config.scenes, profile=config.profile)
            materials = {f"series {number}": drawn(number) for number in series}
        else:
            materials = {"photos": _material(config, folder)}
        _write_proof(config, folder, shown, [proof.run(materials) for proof in proofs.values()])
    return 0


def _material(config: Config, folder: Path) -> Material:
    """The scenes of the paper's tables, or the user's photos."""
    from pipeline.experiments.material import draw_scenes, find_material

    if config.preset == "miniature":
        return draw_scenes(Path(config.out), config.scenes, profile=config.profile)
    paths = str(config.images), str(config.captions), str(config.annotations)
    material = find_material(folder, *paths, config.split, strict=config.strict_annotations)
    if material.remark:
        print(f"warning: {printable(material.remark)}", flush=True)
    return material


def _folder(config: Config) -> Path:
    """Where features and reports go, below `out`: each kind of scenes has its own."""
    return Path(config.out) / (config.preset if config.profile == "balanced" else f"{config.preset}-{config.profile}")


def _encoders(config: Config) -> list[str]:
    from pipeline.encoders import check_perturbable, miniature_encoders

    if config.preset != "miniature":
        needed = {name: getattr(config, name) for name in ("images", "captions", "annotations", "encoder", "weights")}
        missing = [f"--{name}" for name, value in needed.items() if value is None]
        if missing:
            raise QpertError(f"reproduce --preset {config.preset} needs {', '.join(missing)}")
        if config.profile != "balanced":
            raise QpertError(f"--profile {config.profile} is of scenes, which the miniature draws: leave it out")
    elif config.images or config.captions or config.annotations:
        raise QpertError(
            "--images, --captions and --annotations are for flickr30k and coco; the miniature draws its own scenes"
        )
    if len(set(config.series)) < len(config.series) or min(config.series) < 0:
        raise QpertError(f"--series takes different numbers from 0 on, not {' '.join(map(str, config.series))}")
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
        folder=str(_folder(config) / encoder),
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


def _proof(config: Config, encoder: str) -> ProofExperiment:
    from pipeline.method.settings import Perturbation
    from pipeline.reproduction.proof.measuring import ProofExperiment
    from pipeline.reproduction.proof.rows import RIVALS

    of_table_a = MINIATURES.get(encoder, MINIATURE) if config.preset == "miniature" else PAPER
    chosen, grid = (config.perturbation or QPERT).build(), of_table_a.build()
    if chosen is None or grid is None:
        raise QpertError("--perturbation none leaves nothing to compare")
    if chosen.boxes != "own" or "itc" not in chosen.stages:
        raise QpertError("the table of proof needs a --perturbation with own boxes that acts on contrast (stages itc)")
    return ProofExperiment(
        folder=str(_folder(config) / encoder / "proof"),
        encoder=encoder,
        weights=config.weights,
        paper=Perturbation.paper(grid.scale, grid.threshold, grid.weight),
        chosen=chosen,
        draws=config.draws,
        rivals=tuple(kind for kind in RIVALS if kind in config.rivals),
        device=config.device,
        cluster=config,
    )


def _write_proof(config: Config, folder: Path, shown: str, proofs: Sequence[Proof]) -> None:
    from pipeline.reproduction.proof.page import write_page

    origin = _origin(config, config.encoder, proofs[0].versions)
    text = write_page(folder, proofs, origin, _choice(config), samples=config.samples, seed=config.seed)
    print(text)
    print(f"report: {shown}/proof.md; tables as CSV and figures: {shown}/ENCODER/proof")


def _choice(config: Config) -> str:
    """Where the chosen settings come from, and what that means for the p values."""
    if config.perturbation is not None:
        return "The setting was given; that it was chosen needs no correction if that was done on other photos."
    if config.preset != "miniature":
        return "The setting, qpert, was chosen on scenes: that it was needs no correction on these photos."
    if 2 in config.series:
        return "The setting, qpert, was chosen on series 2, which is among these scenes: the figures flatter it."
    return "The setting, qpert, was chosen on series 2, which took no part here: that it was needs no correction."


def _write(config: Config, folder: Path, shown: str, encoder: str, material: Material, result: Result) -> None:
    from pipeline.experiments.variants import PLAIN
    from pipeline.reproduction.reproduction_report import as_markdown, parts, write_figure_a, write_tables

    report = parts(result, samples=config.samples, seed=config.seed)
    title = f"{encoder} on {config.preset}"
    libraries = result.variants[PLAIN].store.open(PLAIN).manifest.versions
    text = as_markdown(title, result, report, origin=_origin(config, encoder, libraries))
    (folder / "report.md").write_text(text, encoding="utf-8")
    write_tables(folder / "tables", report)
    gained, lost = write_figure_a(folder / "figure_a.html", title, material.captions, result, weights=config.weights)
    print(text)
    print(f"report: {shown}/report.md; tables as CSV: {shown}/tables")
    print(f"figure A: {shown}/figure_a.html (of the queries, Q-Perturbation gained {gained} and lost {lost})")


def _origin(config: Config, encoder: str | None, libraries: Mapping[str, str]) -> str:
    """The command that makes this report again (without the folders and the cluster), its versions and the date."""
    words = ["qpert", "reproduce", *(["--encoder", encoder] if encoder else [])]
    for name in (
        "preset",
        "table",
        "weights",
        "split",
        "rerank_k",
        "scenes",
        "profile",
        "series",
        "rivals",
        "draws",
        "samples",
        "seed",
    ):
        value = getattr(config, name)
        if value != Config.model_fields[name].default:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    if config.detector != DetectorConfig():
        words += ["--detector", config.detector.model]
    versions = {"qpert": __version__, **libraries}
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Made by `{printable(shlex.join(words))}` on {date.today().isoformat()} with {made_with}."

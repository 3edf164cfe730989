"""See the whole thing work: make scenes, index them plain, object-aware and with the control, measure all, and search.

Examples:
  qpert demo                              500 held-out scenes, below ./demo
  qpert demo --out /tmp/demo --scenes 100

The control is Q-Perturbation with boxes of other photos in place of each photo's own: what it gains as well is not due
to the objects. Everything runs on this machine with the bundled miniature models. A second run reuses the output of the
first.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors import check_packages
from pipeline.detectors.config import DetectorConfig
from pipeline.io.paths import LocalPath
from pipeline.io.writable import check_writable
from pipeline.queries.hits import Hit, Hits
from pipeline.runs.perturbation_config import IndexPerturbationConfig, PerturbationConfig

if TYPE_CHECKING:
    from pipeline.datasets.scenes import Scene
    from pipeline.features.feature_set import FeatureSet
    from pipeline.reports.gallery import Section
    from pipeline.reports.text_table import Table
    from pipeline.retrieval.evaluation import Evaluation

logger = logging.getLogger(__name__)

ENCODER = "internvl"
"""The miniature whose gain is, in part, the objects' own: see docs/method.md."""
SEED = 1
"""A series of scenes that no miniature model was trained on."""
SIZES = ("tiny", "small", "large")
"""One query for each of these words of the scenes' captions."""
TOP = 5
PLAIN, PERTURBED, CONTROL = "plain", "Q-Perturbation", "others' boxes"
MEANING = f"""gain: {PERTURBED} minus {PLAIN}.
object's own: {PERTURBED} minus the same with other photos' boxes. The rest of the gain is not due to the objects.
An interval that holds 0 shows nothing."""


class Config(BaseModel):
    """How much to do, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: LocalPath = Field("demo", description="folder for scenes, features and the report")
    scenes: int = Field(500, ge=10, description="number of scenes")
    perturbation: IndexPerturbationConfig = Field(
        IndexPerturbationConfig(),
        description="what is compared with plain and with the control",
        json_schema_extra={"short": "preset"},
    )
    cpus: int | None = Field(None, ge=1, description="CPU cores to use (default: all)")
    verbose: bool = Field(False, description="show Ray's own messages")


@dataclass(frozen=True)
class Query:
    """A thing to look for, and the photos that show it according to the scenes."""

    text: str
    shown_in: frozenset[str]


def run(config: Config) -> int:
    """Runs the demo; returns 0 if all of it worked."""
    check_packages(DetectorConfig())
    # Imported here, as below, because --help must not wait for torch.
    from pipeline.api.search import search
    from pipeline.datasets.scenes import distinct_scenes
    from pipeline.experiments.material import draw_scenes
    from pipeline.features.feature_set import FeatureSet
    from pipeline.reports import terminal, write_gallery
    from pipeline.retrieval.evaluation import evaluate
    from pipeline.retrieval.text import EmbeddedTexts, load_text_encoder

    check_writable(config.out)
    started = time.monotonic()
    folder = Path(config.out) / f"scenes-{config.scenes}"
    print(f"1. {config.scenes} scenes that the models have not seen: {folder}", flush=True)
    material = draw_scenes(Path(config.out), config.scenes, SEED)
    folders = {PLAIN: "plain", PERTURBED: "q-perturbation", CONTROL: "others-boxes"}
    outs = {name: str(Path(config.out) / f"{kind}-{ENCODER}-{config.scenes}") for name, kind in folders.items()}
    code = _index_all(config, material.photos, outs)
    if code:
        return code

    print(
        "\n5. Recall in percent, differences in points with 95 % intervals, object sizes by the true boxes\n",
        flush=True,
    )
    sets = {name: FeatureSet.open(out) for name, out in outs.items()}
    texts = EmbeddedTexts.of(load_text_encoder(sets[PLAIN]), material.captions)
    areas = material.areas(sets[PLAIN])
    evaluations = {name: evaluate(features, material.captions, texts, areas=areas) for name, features in sets.items()}
    print(terminal(*control_table(evaluations)))
    print(f"\n{MEANING}")

    print("\n6. Search: the best photos of three queries; * marks those that do show it", flush=True)
    queries = choose_queries(list(distinct_scenes(config.scenes, SEED)))
    answers = {name: search(features, [query.text for query in queries], TOP) for name, features in sets.items()}
    for number, query in enumerate(queries):
        hits = {name: of_set[number] for name, of_set in answers.items()}
        print(f"\n{query.text} ({len(query.shown_in)} photos show one)\n\n{side_by_side(query, hits)}")
    report = Path(config.out) / f"report-{config.scenes}.html"
    subtitle = f"{config.scenes} held-out scenes, {PLAIN}, with {PERTURBED}, and with {CONTROL}"
    write_gallery(report, "Three queries", _sections(queries, sets, answers), subtitle=subtitle)
    print(f"\nreport with the photos and their objects: {report}")
    print(f"total time: {time.monotonic() - started:.0f} s")
    return 0


def choose_queries(scenes: Sequence[Scene]) -> list[Query]:
    """For each of `SIZES` the thing that most scenes show, such as "a small red star".

    Scene number n is the photo `00000n.jpg`.
    """
    counts = Counter(thing for scene in scenes for thing in sorted(scene.content))
    queries = []
    for size in SIZES:
        things = [(-count, thing) for thing, count in counts.items() if thing[0] == size]
        if things:
            _, thing = min(things)
            photos = (f"{number:06d}.jpg" for number, scene in enumerate(scenes) if thing in scene.content)
            queries.append(Query(f"a {' '.join(thing)}", frozenset(photos)))
    return queries


def side_by_side(query: Query, answers: dict[str, Hits]) -> str:
    """A table with a line per rank, and two columns (photo, score) per index."""
    from pipeline.reports import terminal

    headers = ["rank", *(cell for name in answers for cell in (name, "score"))]
    rows = [
        [str(rank), *(cell for hit in hits for cell in (_marked(query, hit), f"{hit.score:.3f}"))]
        for rank, hits in enumerate(zip(*answers.values(), strict=True), 1)
    ]
    return terminal(headers, rows)


def control_table(evaluations: dict[str, Evaluation]) -> Table:
    """Recall@1 of the three indexes; what the objects add to plain, and what to other photos' boxes, with intervals."""
    from pipeline.reports.recall_tables import DIRECTIONS, points_with_interval
    from pipeline.reports.text_table import percent
    from pipeline.retrieval.comparison import compare

    perturbed = evaluations[PERTURBED]
    gain, own = (compare(evaluations[name].ranks, perturbed.ranks, perturbed.report.ks) for name in (PLAIN, CONTROL))
    rows = []
    for direction, title in DIRECTIONS.items():
        parts = [getattr(evaluation.report, direction) for evaluation in evaluations.values()]
        changes = [getattr(comparison, direction) for comparison in (gain, own)]
        overall = [part.overall.get(1) for part in parts], [change.overall[1] for change in changes]
        small = [part.bins[0].recall.get(1) for part in parts], [change.bins[0][1] for change in changes]
        for label, (recalls, differences) in {f"{title}, R@1": overall, "  largest object < 10 %": small}.items():
            cells = [points_with_interval(change.difference, change.interval) for change in differences]
            rows.append([label, *map(percent, recalls), *cells])
    return ["", *evaluations, "gain", "object's own"], rows


def _index_all(config: Config, photos: str, outs: dict[str, str]) -> int:
    """Indexes `photos` in all three ways in one Ray session; starts none if all are complete already."""
    from pipeline.cluster.session import ray_session
    from pipeline.features.store import FeatureStore
    from pipeline.runs.index_run import IndexRun
    from pipeline.runs.spec import IndexSpec

    manifests = [FeatureStore(out).find_manifest() for out in outs.values()]
    complete = all(manifest is not None and manifest.state == "complete" for manifest in manifests)
    session: AbstractContextManager[object] = nullcontext()
    if not complete:
        session = ray_session(cpus=config.cpus, verbose=config.verbose)
    # Objects are detected once. Only boxes that are known beforehand can be exchanged between photos.
    known = DetectorConfig(model="annotated", annotations=outs[PLAIN])
    ways = {
        PLAIN: (PerturbationConfig(preset="none"), DetectorConfig()),
        PERTURBED: (config.perturbation, known),
        CONTROL: (config.perturbation.model_copy(update={"boxes": "shuffled"}), known),
    }
    with session:
        for number, (name, out) in enumerate(outs.items(), 2):
            print(f"\n{number}. Index, {name}: {out}", flush=True)
            perturbation, detector = ways[name]
            spec = IndexSpec(
                source=photos,
                out=out,
                encoder=ENCODER,
                detector=detector,
                perturbation=perturbation,
                cpus=config.cpus,
                verbose=config.verbose,
            )
            report = IndexRun(spec).run().report
            print("\n".join(report.done), flush=True)
            for warning in (*report.warnings, *filter(None, [report.failures])):
                logger.warning(warning)
            if report.failures:
                return 1
    return 0


def _marked(query: Query, hit: Hit) -> str:
    return f"{hit.image_id} {'*' if hit.image_id in query.shown_in else ' '}"


def _sections(queries: Sequence[Query], sets: dict[str, FeatureSet], answers: dict[str, list[Hits]]) -> list[Section]:
    """For each query its hits in each index."""
    from pipeline.queries.hit_gallery import hit_sections

    sections = []
    for number, query in enumerate(queries):
        for name, features in sets.items():
            hits = answers[name][number]
            right = sum(hit.image_id in query.shown_in for hit in hits)
            note = f"{right} of these {len(hits)} show one; {len(query.shown_in)} of all photos do"
            sections += hit_sections(features, [Hits(f"{query.text}: {name}", hits.hits)], note=note)
    return sections

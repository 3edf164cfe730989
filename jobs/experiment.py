"""One encoder through the whole protocol of `qpert reproduce`: index under many settings at once, measure, time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from jobs.evaluate import annotated_areas
from pipeline.benchmarks.encoder_cost import measure_cost
from pipeline.cluster.machines import SMALL
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import result_of
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import Encoder, can_match, load_encoder, twin_of
from pipeline.experiments import paper
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import SEED, Material
from pipeline.experiments.measuring import Variant, measure
from pipeline.experiments.outcomes import Outcomes
from pipeline.experiments.settings import DETECTED, OES, PLAIN, Settings, grid, matched, switches, table_a
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint, weights_identity
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.reproduction.figure_b import FigureB, measure_figure_b
from pipeline.reproduction.result import Result
from pipeline.retrieval import Ranks, embed_texts, evaluate, load_text_encoder
from pipeline.runs.options import OnMachines
from pipeline.runs.reranking import rerank_features
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.stages.columns import objects_from_row

if TYPE_CHECKING:
    from pipeline.method.objects import Objects

EMPHASIS_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
EMPHASIS_THRESHOLD = 0.99
"""Of figure B: the paper shows examples and gives no setting. 0.99 did more than 0.9 on other scenes (series 2)."""
COST_PHOTOS = 16
"""Photos in the batch of Table B: a batch of their own boxes."""


@dataclass(frozen=True)
class Experiment:
    """What to run with one encoder, and where to keep it.

    Attributes:
        folder: for the feature sets and outcomes.
        encoder: its name.
        weights: its weights; None for its miniature.
        detector: of the set with detected boxes.
        chosen: the perturbation of Table A.
        grids: the scales of Table C, the paper's first, further ones after it.
        candidates: how many of the best to re-rank by image-text matching, where the encoder has that.
        captioned: scenes for figure B, where the encoder writes; 0 leaves it out.
        device: of Table B and of the texts.
        machines: how they are used.
    """

    folder: str
    encoder: str
    weights: str | None
    detector: DetectorConfig
    chosen: Perturbation
    grids: tuple[tuple[float, ...], ...] = (paper.SCALES,)
    candidates: int = 128
    captioned: int = 0
    device: str = "cpu"
    machines: OnMachines = field(default_factory=OnMachines)

    @property
    def settings(self) -> Settings:
        """Every setting that is embedded with the true boxes."""
        merged = table_a(self.chosen) | switches(self.chosen)
        for scales in self.grids:
            merged |= grid(scales)
        return merged

    def plan(self) -> str:
        """What would be done."""
        return (
            f"{self.encoder} ({self.weights or 'miniature'}): {len(self.settings)} settings with annotated boxes in one"
            f" pass, 1 with boxes of detector {self.detector.model}{self._further()}; features and"
            f" outcomes in {self.folder}"
        )

    def _further(self) -> str:
        if not can_match(self.encoder):
            return ""
        captioned = (
            f", captions of {self.captioned} scenes in {len(EMPHASIS_SCALES)} settings" if self.captioned else ""
        )
        return f", {len(matched(self.chosen))} settings re-ranked by matching, {self.candidates} best each{captioned}"

    def run(self, material: Material) -> Result:
        """Do what is not done yet."""
        print(self.plan(), file=sys.stderr, flush=True)
        annotated = DetectorConfig(model="annotated", annotations=material.annotations)
        sets: dict[str, tuple[DetectorConfig, Settings, bool]] = {
            "annotated": (annotated, self.settings, True),
            "detected": (self.detector, {DETECTED: self.chosen}, False),
        }
        variants: dict[str, Variant] = {}
        for name, (detector, settings, with_objects) in sets.items():
            out = f"{self.folder}/{name}"
            # GPU types that are gone after the first set are not missed.
            self._index(material, out, detector, settings, with_objects, begun=bool(variants))
            variants |= {setting: Variant(out, setting) for setting in settings}
        variants[OES] = Variant(f"{self.folder}/annotated", PLAIN, with_objects=True)
        features = FeatureSet.open(f"{self.folder}/annotated", PLAIN)
        ranks = self._ranks(material, features, variants)
        reranked = self._matched(material, variants) if can_match(self.encoder) else {}
        encoder = load_encoder(twin_of(self.encoder), weights=self.weights, device=self.device)
        return Result(
            self.chosen,
            self.grids,
            list(switches(self.chosen)),
            variants,
            ranks,
            measure_cost(encoder, _some_objects(features, COST_PHOTOS), self.chosen),
            reranked,
            self.candidates,
            self._figure_b(encoder) if reranked and self.captioned else None,
        )

    def _index(
        self,
        material: Material,
        out: str,
        detector: DetectorConfig,
        settings: Settings,
        with_objects: bool,
        *,
        begun: bool,
    ) -> None:
        spec = IndexSpec(
            source=material.photos,
            out=out,
            encoder=self.encoder,
            weights=self.weights,
            detector=detector,
            **vars(self.machines),
        )
        index_variants(spec, Variants(settings, with_objects=with_objects), begun=begun)

    def _ranks(self, material: Material, features: FeatureSet, variants: dict[str, Variant]) -> dict[str, Any]:
        outcomes = Outcomes(Path(self.folder) / "outcomes" / question(variants, material))
        found = {name: outcomes.find(name) for name in variants}
        left = {name: variants[name] for name, ranks in found.items() if ranks is None}
        if left:
            print(f"measuring {len(left)} settings ...", file=sys.stderr, flush=True)
            areas = annotated_areas(material.annotations, list(material.captions), features)
            where = self.machines
            with ray_session(where.address, cpus=where.cpus, verbose=where.verbose):
                task = ray.remote(num_cpus=SMALL)(measure)
                done = task.remote(left, material.captions, areas, self.weights, self.device)
                for name, ranks in result_of(done, "measuring").items():
                    outcomes.keep(name, ranks)
                    found[name] = ranks
        return found

    def _matched(self, material: Material, variants: dict[str, Variant]) -> dict[str, Ranks]:
        """The settings of the matching table; scores that are there are not worked out again."""
        captions = list(material.captions)
        wanted = matched(self.chosen)
        sets = {name: FeatureSet.open(variants[name].out, name) for name in {name for name, _ in wanted.values()}}
        areas = annotated_areas(material.annotations, captions, sets[PLAIN])
        reader = partial(embed_texts, load_text_encoder(sets[PLAIN], weights=self.weights, device=self.device))
        before = {
            name: evaluate(features, captions, reader, areas=areas, candidates=self.candidates)
            for name, features in sets.items()
        }
        return {
            name: rerank_features(
                sets[contrast], before[contrast], setting, weights=self.weights, machines=self.machines, begun=True
            ).ranks
            for name, (contrast, setting) in wanted.items()
        }

    def _figure_b(self, encoder: Encoder) -> FigureB:
        settings = {
            f"scale {scale:g}": Perturbation(scale=scale, threshold=EMPHASIS_THRESHOLD, stages=("lm",))
            for scale in EMPHASIS_SCALES
        }
        print(f"writing captions of {self.captioned} scenes ...", file=sys.stderr, flush=True)
        return measure_figure_b(encoder, settings, self.captioned, SEED)


def question(variants: dict[str, Variant], material: Material) -> str:
    """A fingerprint of all that outcomes depend on: what is kept of other features, captions or boxes is no answer."""
    manifests = [FeatureStore(out).manifest() for out in sorted({variant.out for variant in variants.values()})]
    asked = {
        "sets": [[manifest.fingerprint, manifest.counts] for manifest in manifests],
        "captions": [[image.image_id, image.captions] for image in material.captions],
        "annotations": weights_identity(material.annotations, whole=True),
    }
    return fingerprint(asked)


def _some_objects(features: FeatureSet, count: int) -> list[Objects]:
    """The objects of the first photos."""
    block = next(features.iter_blocks(["objects", "width", "height"], count))
    return [objects_from_row(row["objects"], (row["width"], row["height"])) for row in block.to_pylist()]

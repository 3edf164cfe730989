"""One encoder through the whole protocol of `qpert reproduce`: index under many settings at once, measure, time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline.benchmarks.encoder_cost import measure_cost
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import Encoder, can_match, load_encoder, twin_of
from pipeline.experiments import paper
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import SEED, Material
from pipeline.experiments.measuring import first_objects, measure_variants
from pipeline.experiments.variants import DETECTED, OES, PLAIN, Settings, Variant, grid, matched, switches, table_a
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.reproduction.figure_b import FigureB, measure_figure_b
from pipeline.reproduction.result import Result
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.text import embed_texts, load_text_encoder
from pipeline.runs.options import RunOptions
from pipeline.runs.reranking import rerank_features
from pipeline.runs.spec import IndexSpec, Variants

_log = logging.getLogger(__name__)

EMPHASIS_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
EMPHASIS_THRESHOLD = 0.99
"""Of figure B: the paper shows examples without their settings. 0.99 had more effect than 0.9 on other scenes (series
2)."""
COST_PHOTOS = 16
"""Photos in the batch of Table B, with the boxes of the first photos."""


@dataclass(frozen=True)
class Experiment:
    """The protocol for one encoder.

    Attributes:
        folder: folder of the feature sets and outcomes.
        encoder: its name.
        weights: its weights; None for its miniature.
        detector: detector of the set with detected boxes.
        chosen: the perturbation of Table A.
        grids: the scales of Table C: the paper's, then further ones.
        candidates: number of best answers to re-rank by image-text matching, if the encoder has that.
        captioned: number of scenes for figure B, if the encoder writes captions; 0 leaves it out.
        device: torch device of Table B and of the text encoder.
        cluster: how the cluster is used.
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
    cluster: RunOptions = field(default_factory=RunOptions)

    @property
    def settings(self) -> Settings:
        """Every setting that is embedded with the true boxes."""
        merged = table_a(self.chosen) | switches(self.chosen)
        for scales in self.grids:
            merged |= grid(scales)
        return merged

    def plan(self) -> str:
        """What would be done, in one line."""
        return (
            f"{self.encoder} ({self.weights or 'miniature'}): {len(self.settings)} settings with annotated boxes in one"
            f" pass, 1 with boxes of detector {self.detector.model}{self._matching_plan()}; features and"
            f" outcomes in {self.folder}"
        )

    def _matching_plan(self) -> str:
        if not can_match(self.encoder):
            return ""
        captioned = (
            f", captions of {self.captioned} scenes in {len(EMPHASIS_SCALES)} settings" if self.captioned else ""
        )
        return f", {len(matched(self.chosen))} settings re-ranked by matching, {self.candidates} best each{captioned}"

    def run(self, material: Material) -> Result:
        """Runs the protocol, except for the parts that are on disk already."""
        _log.info(self.plan())
        annotated, detected = (FeatureStore(f"{self.folder}/{name}") for name in ("annotated", "detected"))
        true_boxes = DetectorConfig(model="annotated", annotations=material.annotations)
        self._index(material, annotated, true_boxes, Variants(self.settings, with_objects=True), begun=False)
        # GPU types that disappear after the first set are not required for the second.
        self._index(material, detected, self.detector, Variants({DETECTED: self.chosen}), begun=True)
        variants = {name: Variant(annotated, name) for name in self.settings}
        variants |= {DETECTED: Variant(detected, DETECTED), OES: Variant(annotated, PLAIN, with_objects=True)}
        features = annotated.open(PLAIN)
        ranks = self._ranks(material, features, variants)
        reranked = self._reranked(material, variants) if can_match(self.encoder) else {}
        encoder = load_encoder(twin_of(self.encoder), weights=self.weights, device=self.device)
        return Result(
            self.chosen,
            self.grids,
            list(switches(self.chosen)),
            variants,
            ranks,
            measure_cost(encoder, first_objects(features, COST_PHOTOS), self.chosen),
            reranked,
            self.candidates,
            self._figure_b(encoder) if reranked and self.captioned else None,
        )

    def _index(
        self, material: Material, store: FeatureStore, detector: DetectorConfig, variants: Variants, *, begun: bool
    ) -> None:
        spec = IndexSpec(
            source=material.photos,
            out=store.root,
            encoder=self.encoder,
            weights=self.weights,
            detector=detector,
            **self.cluster.cluster_options(),
        )
        index_variants(spec, variants, begun=begun)

    def _ranks(self, material: Material, features: FeatureSet, variants: dict[str, Variant]) -> dict[str, Ranks]:
        """The outcomes of all variants; those on disk are not measured again."""
        return measure_variants(
            Path(self.folder) / "outcomes",
            material,
            features,
            variants,
            weights=self.weights,
            device=self.device,
            cluster=self.cluster,
        )

    def _reranked(self, material: Material, variants: dict[str, Variant]) -> dict[str, Ranks]:
        """The settings of the matching table; scores on disk are not computed again."""
        wanted = matched(self.chosen)
        sets = {name: variants[name].store.open(name) for name in {contrast for contrast, _ in wanted.values()}}
        areas = material.areas(sets[PLAIN])
        embed = partial(embed_texts, load_text_encoder(sets[PLAIN], weights=self.weights, device=self.device))
        before = {
            name: evaluate(features, material.captions, embed, areas=areas, candidates=self.candidates)
            for name, features in sets.items()
        }
        return {
            name: rerank_features(
                sets[contrast], before[contrast], setting, weights=self.weights, cluster=self.cluster, begun=True
            ).ranks
            for name, (contrast, setting) in wanted.items()
        }

    def _figure_b(self, encoder: Encoder) -> FigureB:
        settings = {
            f"scale {scale:g}": Perturbation(scale=scale, threshold=EMPHASIS_THRESHOLD, stages=("lm",))
            for scale in EMPHASIS_SCALES
        }
        _log.info(f"writing captions of {self.captioned} scenes ...")
        return measure_figure_b(encoder, settings, self.captioned, SEED)

"""One encoder through the table of proof: every series indexed under all settings in one pass, measured, timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import load_encoder, twin_of
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import Material
from pipeline.experiments.measuring import first_objects, measure_variants
from pipeline.experiments.variants import PLAIN, Variant
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.cost import Costs, measure_costs
from pipeline.reproduction.proof.rows import RIVALS, Row, proof_rows, settings_of, shown
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import RunOptions
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.stages.multi_config import NO_MULTI, MultiConfig, MultiKind

_log = logging.getLogger(__name__)

COST_PHOTOS = 16
"""Photos in the batch that is timed, with the boxes of the first photos."""


@dataclass(frozen=True)
class SeriesOutcomes:
    """The outcomes of one set of photos.

    Attributes:
        ranks: row -> ranks of each of its draws.
        areas: largest object's area by image id.
        indexed: photos that were indexed in this run, once for the rows that perturb and once for the rivals; 0 if all
            were on disk.
        seconds: duration of indexing and measuring in this run.
    """

    ranks: Mapping[str, tuple[Ranks, ...]]
    areas: Mapping[str, float] | None
    indexed: int
    seconds: float


@dataclass(frozen=True)
class Proof:
    """The outcomes of one encoder.

    Attributes:
        encoder: its name.
        weights: its weights; None for its miniature.
        paper: the setting of the paper's row.
        chosen: the setting that was chosen on other photos.
        draws: seeds of the rows that draw something.
        rows: all rows, see `proof_rows`.
        series: by name, in order.
        costs: of the rows.
        versions: of the libraries.
    """

    encoder: str
    weights: str | None
    paper: Perturbation
    chosen: Perturbation
    draws: int
    rows: tuple[Row, ...]
    series: Mapping[str, SeriesOutcomes]
    costs: Costs
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ProofExperiment:
    """The table of proof for one encoder.

    Attributes:
        folder: folder of the feature sets and outcomes.
        encoder: its name.
        weights: its weights; None for its miniature.
        paper: the method as the paper describes it.
        chosen: a setting chosen on other photos.
        draws: seeds of the rows that draw something.
        rivals: further vectors of each photo to compare with.
        device: torch device of the text encoder and of the timing.
        cluster: how the cluster is used.
    """

    folder: str
    encoder: str
    weights: str | None
    paper: Perturbation
    chosen: Perturbation
    draws: int = 3
    rivals: tuple[MultiKind, ...] = RIVALS
    device: str = "cpu"
    cluster: RunOptions = field(default_factory=RunOptions)

    @cached_property
    def rows(self) -> list[Row]:
        """See `proof_rows`."""
        return proof_rows(self.paper, self.chosen, self.draws, self.rivals)

    def plan(self, series: int) -> str:
        """What would be done, in one line."""
        settings, _ = settings_of(self.rows)
        also = f", {', '.join(self.rivals)} in another" if self.rivals else ""
        return (
            f"{self.encoder} ({self.weights or 'miniature'}), table of proof: {len(shown(self.rows))} rows,"
            f" {len(settings)} embeddings in one pass over each of {series} sets of photos{also}; features and outcomes"
            f" in {self.folder}"
        )

    def run(self, materials: Mapping[str, Material]) -> Proof:
        """Indexes and measures each series, except for what is on disk already.

        Args:
            materials: the photos of each series, by its name.
        """
        _log.info(self.plan(len(materials)))
        series: dict[str, SeriesOutcomes] = {}
        for name, material in materials.items():
            series[name], features = self._series(name, material, begun=bool(series))
        encoder = load_encoder(twin_of(self.encoder), weights=self.weights, device=self.device)
        number_bytes = np.dtype(features.manifest.precision).itemsize
        costs = measure_costs(
            encoder, first_objects(features, COST_PHOTOS), shown(self.rows), number_bytes=number_bytes
        )
        versions = features.manifest.versions
        rows = tuple(self.rows)
        return Proof(self.encoder, self.weights, self.paper, self.chosen, self.draws, rows, series, costs, versions)

    def _series(self, name: str, material: Material, *, begun: bool) -> tuple[SeriesOutcomes, FeatureSet]:
        started = time.monotonic()
        settings, of_row = settings_of(self.rows)
        asked = {setting: None if one is None else one.as_dict() for setting, one in settings.items()}
        place = f"{self.folder}/{name.replace(' ', '-')}"
        store = FeatureStore(f"{place}-{fingerprint(asked)}")
        indexed = self._index(material, store, Variants(settings), begun=begun)
        variants = {setting: Variant(store, setting) for setting in settings}
        rivals = [row for row in self.rows if row.rival]
        if rivals:
            views = MultiConfig(kinds=self.rivals)
            others = FeatureStore(f"{place}-rivals-{fingerprint(views.identity())}")
            indexed += self._index(material, others, Variants({PLAIN: None}), views, begun=True)
            variants |= {row.name: Variant(others, PLAIN, views=row.views, combine=row.combine) for row in rivals}
        features = store.open(PLAIN)
        ranks = measure_variants(
            Path(self.folder) / "outcomes",
            material,
            features,
            variants,
            weights=self.weights,
            device=self.device,
            cluster=self.cluster,
        )
        by_row = {
            row.name: tuple(ranks[name] for name in ([row.name] if row.rival else of_row[row.name]))
            for row in self.rows
        }
        seconds = time.monotonic() - started
        return SeriesOutcomes(by_row, material.areas(features), indexed, seconds), features

    def _index(
        self,
        material: Material,
        store: FeatureStore,
        variants: Variants,
        multi: MultiConfig = NO_MULTI,
        *,
        begun: bool,
    ) -> int:
        spec = IndexSpec(
            source=material.photos,
            out=store.root,
            encoder=self.encoder,
            weights=self.weights,
            detector=DetectorConfig(model="annotated", annotations=material.annotations),
            multi=multi,
            **self.cluster.cluster_options(),
        )
        return index_variants(spec, variants, begun=begun)

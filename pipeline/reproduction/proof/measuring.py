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
from pipeline.reproduction.proof.rows import Row, proof_rows, settings_of, shown
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import RunOptions
from pipeline.runs.spec import IndexSpec, Variants

_log = logging.getLogger(__name__)

COST_PHOTOS = 16
"""Photos in the batch that is timed, with the boxes of the first photos."""


@dataclass(frozen=True)
class SeriesOutcomes:
    """The outcomes of one set of photos.

    Attributes:
        ranks: row -> ranks of each of its draws.
        areas: largest object's area by image id.
        indexed: photos that passed the backbone in this run; 0 if they were on disk.
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
        device: torch device of the text encoder and of the timing.
        cluster: how the cluster is used.
    """

    folder: str
    encoder: str
    weights: str | None
    paper: Perturbation
    chosen: Perturbation
    draws: int = 3
    device: str = "cpu"
    cluster: RunOptions = field(default_factory=RunOptions)

    @cached_property
    def rows(self) -> list[Row]:
        """See `proof_rows`."""
        return proof_rows(self.paper, self.chosen, self.draws)

    def plan(self, series: int) -> str:
        """What would be done, in one line."""
        settings, _ = settings_of(self.rows)
        return (
            f"{self.encoder} ({self.weights or 'miniature'}), table of proof: {len(shown(self.rows))} rows,"
            f" {len(settings)} embeddings in one pass over each of {series} sets of photos; features and outcomes in"
            f" {self.folder}"
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
        store = FeatureStore(f"{self.folder}/{name.replace(' ', '-')}-{fingerprint(asked)}")
        spec = IndexSpec(
            source=material.photos,
            out=store.root,
            encoder=self.encoder,
            weights=self.weights,
            detector=DetectorConfig(model="annotated", annotations=material.annotations),
            **self.cluster.cluster_options(),
        )
        indexed = index_variants(spec, Variants(settings, with_objects=True), begun=begun)
        features = store.open(PLAIN)
        with_objects = {row.name for row in self.rows if row.objects}
        variants = {name: Variant(store, name) for name in settings}
        variants |= {name: Variant(store, PLAIN, with_objects=True) for name in with_objects}
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
            row.name: tuple(ranks[name] for name in ([row.name] if row.objects else of_row[row.name]))
            for row in self.rows
        }
        seconds = time.monotonic() - started
        return SeriesOutcomes(by_row, material.areas(features), indexed, seconds), features

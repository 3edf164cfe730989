"""One encoder through the table of proof: every series indexed under all settings in one pass, measured, timed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import Encoder, encoder_spec, load_encoder, twin_of
from pipeline.errors import QpertError
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import Material
from pipeline.experiments.measuring import first_objects, measure_variants
from pipeline.experiments.variants import PLAIN, Variant
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.method.objects import TokenGrid
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.cost import Costs, measure_costs
from pipeline.reproduction.proof.rows import HI_RES, RIVALS, Rival, Row, proof_rows, settings_of, shown
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import RunOptions
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.stages.multi_config import MultiConfig

_log = logging.getLogger(__name__)

COST_PHOTOS = 8
"""Photos in the batch that is timed, with the boxes of the first photos."""


@dataclass(frozen=True)
class SeriesOutcomes:
    """The outcomes of one set of photos.

    Attributes:
        ranks: row -> ranks of each of its draws.
        areas: largest object's area by image id.
        indexed: photos that were indexed in this run, once for the rows that perturb, once for further vectors, once at
            the higher resolution; 0 if all were on disk.
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
        remark: the resolution of `HI_RES`, or why that row is left out.
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
    remark: str = ""


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
        rivals: further vectors of each photo to compare with, and a higher resolution.
        device: torch device of the text encoder and of the timing.
        cluster: how the cluster is used.
    """

    folder: str
    encoder: str
    weights: str | None
    paper: Perturbation
    chosen: Perturbation
    draws: int = 3
    rivals: tuple[Rival, ...] = RIVALS
    device: str = "cpu"
    cluster: RunOptions = field(default_factory=RunOptions)

    @cached_property
    def rows(self) -> list[Row]:
        """See `proof_rows`."""
        return proof_rows(self.paper, self.chosen, self.draws, self.rivals)

    def plan(self, series: int) -> str:
        """What would be done, in one line."""
        settings, _ = settings_of(self.rows)
        also = f", the rivals {', '.join(self.rivals)} in others" if self.rivals else ""
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
        size, remark = self._resolution()
        rows = tuple(row for row in self.rows if row.rival != HI_RES or size)
        series: dict[str, SeriesOutcomes] = {}
        for name, material in materials.items():
            series[name], features = self._series(name, material, rows, size, begun=bool(series))
        encoder, objects = self._load(), first_objects(features, COST_PHOTOS)
        number_bytes = np.dtype(features.manifest.precision).itemsize
        finer = self._load(size) if size else None
        costs = measure_costs(encoder, objects, shown(rows), number_bytes=number_bytes, finer=finer)
        versions = features.manifest.versions
        asked = self.encoder, self.weights, self.paper, self.chosen, self.draws
        return Proof(*asked, rows, series, costs, versions, remark)

    def _load(self, image_size: int | None = None) -> Encoder:
        name = twin_of(self.encoder)
        return load_encoder(name, weights=self.weights, device=self.device, image_size=image_size)

    def _resolution(self) -> tuple[int | None, str]:
        """Twice the encoder's resolution in pixels for the row `HI_RES`, or None with the reason why not."""
        if HI_RES not in self.rivals:
            return None, ""
        grid = self._load().grid
        own = grid.image_size if isinstance(grid, TokenGrid) else grid.patch * math.isqrt(grid.max_patches)
        try:
            encoder_spec(self.encoder, self.weights, 2 * own)
            self._load(2 * own)
        except QpertError as error:
            return None, f"{HI_RES} is left out: {error}"
        return 2 * own, f"{HI_RES}: {2 * own} pixels in place of {own}, with positions interpolated"

    def _series(
        self, name: str, material: Material, rows: Sequence[Row], size: int | None, *, begun: bool
    ) -> tuple[SeriesOutcomes, FeatureSet]:
        started = time.monotonic()
        settings, of_row = settings_of(rows)
        asked = {setting: None if one is None else one.as_dict() for setting, one in settings.items()}
        place = f"{self.folder}/{name.replace(' ', '-')}"
        store = FeatureStore(f"{place}-{fingerprint(asked)}")
        indexed = self._index(material, store, Variants(settings), begun=begun)
        variants = {setting: Variant(store, setting) for setting in settings}
        plain = Variants({PLAIN: None})
        views = MultiConfig(kinds=tuple(kind for kind in self.rivals if kind != HI_RES))
        if views.kinds:
            others = FeatureStore(f"{place}-rivals-{fingerprint(views.identity())}")
            indexed += self._index(material, others, plain, multi=views, begun=True)
            variants |= {
                row.name: Variant(others, PLAIN, views=row.views, combine=row.combine) for row in rows if row.views
            }
        if size:
            finer = FeatureStore(f"{place}-{size}-pixels")
            indexed += self._index(material, finer, plain, image_size=size, begun=True)
            variants[HI_RES] = Variant(finer, PLAIN)
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
            row.name: tuple(ranks[name] for name in ([row.name] if row.rival else of_row[row.name])) for row in rows
        }
        seconds = time.monotonic() - started
        return SeriesOutcomes(by_row, material.areas(features), indexed, seconds), features

    def _index(
        self, material: Material, store: FeatureStore, variants: Variants, *, begun: bool, **options: Any
    ) -> int:
        spec = IndexSpec(
            source=material.photos,
            out=store.root,
            encoder=self.encoder,
            weights=self.weights,
            detector=DetectorConfig(model="annotated", annotations=material.annotations),
            **options,
            **self.cluster.cluster_options(),
        )
        return index_variants(spec, variants, begun=begun)

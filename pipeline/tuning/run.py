"""One encoder through `qpert tune`: tokens, search, tables, and the confirming run."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.captions.reading import read_captions
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import can_match, check_room, encoder_spec
from pipeline.errors import QpertError
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import Material, draw_scenes, find_material
from pipeline.experiments.outcomes import Outcomes, outcomes_key
from pipeline.experiments.variants import PLAIN, Variant
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.method.settings import Perturbation
from pipeline.retrieval.text import EmbeddedTexts, load_text_encoder
from pipeline.runs.attempts import readable
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.tuning.actors import start_trial_server
from pipeline.tuning.confirming import confirm
from pipeline.tuning.findings import Findings, Trial
from pipeline.tuning.search import Search, run_search
from pipeline.tuning.space import Space, Value
from pipeline.tuning.spec import TuningSpec
from pipeline.tuning.token_embedder import TokenBatch, token_batches
from pipeline.tuning.trial_server import ServerStats, TrialData, key_of
from pipeline.tuning.tuning_report import Confirmation, Cost, write_report
from pipeline.workers.device import dtype_for

_log = logging.getLogger(__name__)

SEARCH_SERIES, CONFIRM_SERIES = 2, 1
"""Series of the scenes to search on, and of those to confirm the best setting on."""


@dataclass(frozen=True)
class TuningRun:
    """The search with one encoder.

    Attributes:
        spec: the options.
        encoder: its name.
        space: the settings to search.
        search: how they are chosen.
    """

    spec: TuningSpec
    encoder: str
    space: Space
    search: Search

    @property
    def folder(self) -> Path:
        """Output folder of this encoder."""
        profile = self.spec.profile
        name = self.encoder if profile == "balanced" else f"{self.encoder}-{profile}"
        return Path(self.spec.out).absolute() / name

    @cached_property
    def searched(self) -> set[str]:
        """Ids of the captioned photos to search on, whether they exist or not; for scenes, their numbers."""
        spec = self.spec
        return _captioned(spec, spec.split) if spec.images else {*map(str, range(spec.scenes))}

    @property
    def token_bytes(self) -> int:
        """Upper limit of the image tokens on disk, in bytes; some GPUs compute in float32 whatever `dtype` says."""
        spec = self.spec
        gpus = spec.address or os.environ.get("RAY_ADDRESS") or Machines.here().gpus
        dtype = "float32" if gpus else dtype_for(None, spec.dtype)
        return len(self.searched) * encoder_spec(self.encoder, spec.weights).token_bytes(dtype)

    @property
    def text_dtype(self) -> str:
        """Number format of the text encoder."""
        on_cpu = self.spec.device == "cpu"
        return dtype_for(None, self.spec.dtype) if on_cpu or self.spec.dtype == "auto" else self.spec.dtype

    def check(self) -> None:
        """Raises a QpertError, before any work starts, if it shows that the search cannot be done."""
        spec = self.spec
        if self.token_bytes > spec.cache_limit * 1e9:
            raise QpertError(
                f"the image tokens of {len(self.searched):,} photos take up to {self.token_bytes / 1e9:.1f} GB with"
                f" {self.encoder}: allow that (--cache-limit), take a smaller --dtype, or search on fewer photos"
            )
        check_room(self.encoder, spec.weights, spec.device, self.text_dtype)
        confirmed = _captioned(spec, spec.confirm_split) if spec.images and spec.confirm_split != "none" else set()
        if both := sorted(self.searched & confirmed):
            raise QpertError(
                f"{len(both):,} photos, such as {both[0]}, are in the split {spec.split} and in"
                f" {spec.confirm_split}: the best must be confirmed on photos that took no part in the choice."
                " Name other splits (COCO's own captions have none), or --confirm-split none"
            )

    def plan(self) -> str:
        """What would be done, in one line."""
        search, spec = self.search, self.spec
        count = len(self.space.grid()) if search.searcher == "grid" else search.trials
        confirmed = "" if spec.confirm_split == "none" else "; the best is confirmed on other photos"
        return (
            f"{self.encoder} ({spec.weights or 'miniature'}): {len(self.searched):,} photos pass the backbone once,"
            f" their tokens take up to {self.token_bytes / 1e9:.2f} GB; {count} settings by {search.searcher},"
            f" {search.scheduler}, for the highest {search.metric}{confirmed}; output in {self.folder}"
        )

    def run(self) -> tuple[str, int]:
        """Does what is left to do; returns the report, and the number of trials that failed for good."""
        _log.info(self.plan())
        try:
            with Folder.open(str(self.folder)).exclusive():
                return self._run()
        except ray.exceptions.RayError as error:
            raise readable(error) from error

    def _run(self) -> tuple[str, int]:
        started = time.monotonic()
        spec = self.spec
        material = self._material(spec.split, SEARCH_SERIES)
        store = FeatureStore(str(self.folder / "tokens"))
        to_come = tuple(self.space.setting(values) for values in self.space.samples())
        passed = index_variants(
            self._index_spec(material, store.root), Variants({PLAIN: None}, with_tokens=True, to_come=to_come)
        )
        features = store.open(PLAIN)
        batches = token_batches(features)
        if not batches:
            reasons = "; ".join(sorted({*features.failures.values()})[:3])
            raise QpertError(f"none of the photos could be embedded: {reasons or 'there are none'}")
        store.tokens.remove_others({batch.file for batch in batches})
        key = outcomes_key({PLAIN: Variant(store, PLAIN)}, material)
        outcomes = Outcomes(self.folder / "outcomes" / key)
        chosen, failed, stats = self._search(material, features, outcomes, key, batches)
        for line in failed:
            _log.warning(f"a trial failed for good, {line}")
        findings = self._findings(chosen, outcomes)
        confirmation = self._confirm(findings.best.setting)
        seconds = time.monotonic() - started
        cost = Cost(passed, len(features), len(features.failures), store.tokens.bytes(), stats, seconds)
        title = f"{self.encoder} ({spec.weights or 'miniature'}), searched for {self.search.metric}"
        report = write_report(
            self.folder, title, findings, self.space, cost, confirmation, samples=spec.samples, seed=spec.seed
        )
        return report, len(failed)

    def _confirm(self, best: Perturbation) -> Confirmation | None:
        spec = self.spec
        if spec.confirm_split == "none":
            return None
        material = self._material(spec.confirm_split, CONFIRM_SERIES)
        controls = self.search.objective.controls(best)
        asked = {"photos": material.photos, "setting": key_of(best)}
        name = fingerprint({**asked, "controls": [key_of(one) for one in controls]} if controls else asked)
        index_spec = self._index_spec(material, str(self.folder / f"confirm-{name}"))
        rerank_k = spec.rerank_k if spec.rerank and can_match(self.encoder) else None
        return confirm(
            index_spec, material, best, controls, device=spec.device, dtype=self.text_dtype, rerank_k=rerank_k
        )

    def _material(self, split: str, series: int) -> Material:
        spec = self.spec
        if not spec.images:
            return draw_scenes(Path(spec.out).absolute(), spec.scenes, series, spec.profile)
        boxes = str(spec.annotations) if spec.annotations else None
        folder = Path(spec.out).absolute() / f"photos-{split}"
        material = find_material(folder, spec.images, str(spec.captions), boxes, split, strict=spec.strict_annotations)
        if material.remark:
            _log.warning(material.remark)
        return material

    def _index_spec(self, material: Material, out: str) -> IndexSpec:
        spec = self.spec
        return IndexSpec(
            source=material.photos,
            out=out,
            encoder=self.encoder,
            weights=spec.weights,
            detector=spec.detector or DetectorConfig(model="annotated", annotations=material.annotations),
            dtype=spec.dtype,
            batch_size=spec.batch_size,
            **spec.cluster_options(),
        )

    def _search(
        self, material: Material, features: FeatureSet, outcomes: Outcomes, key: str, batches: Sequence[TokenBatch]
    ) -> tuple[list[dict[str, Value]], list[str], ServerStats]:
        """The chosen values of all finished trials, a line for each that failed, and what the server did."""
        spec, space, objective = self.spec, self.space, self.search.objective
        encoder = load_text_encoder(features, weights=spec.weights, device=spec.device, dtype=self.text_dtype)
        texts = EmbeddedTexts.of(encoder, material.captions)
        del encoder  # its memory is needed for the trials
        settings = self._measured([{}, *space.samples()])
        shuffles = tuple(sorted({setting.seed for setting in settings if setting.boxes == "shuffled"}))
        areas = material.areas(features)
        data = TrialData(FeatureStore(features.folder), material.captions, texts, areas, shuffles)
        search = self.search.identity()
        record = fingerprint({"question": key, "space": dataclasses.asdict(space), "search": search})
        with (
            ray_session(spec.address, cpus=spec.cpus, verbose=spec.verbose),
            start_trial_server(
                data,
                str(outcomes.folder),
                self.encoder,
                files=len({batch.file for batch in batches}),
                gpus=NamedGpus(spec.accelerators, spec.wait, begun=True),
                patience=60 * spec.patience / 3,
                dtype=spec.dtype,
                weights=spec.weights,
            ) as server,
        ):
            plain = ray.get(server.ask.remote(None))
            if math.isnan(plain[objective.metric]):
                raise QpertError(
                    f"{objective.metric} cannot be measured here: no query is of that kind; choose another --metric"
                )
            if self.search.searcher == "grid" and self.search.shares == (1.0,):
                server.prepare.remote(self._measured(space.grid()))
            chosen, failed = run_search(self.search, space, server, self.folder / "tune" / record)
            ray.get([server.ask.remote(setting) for setting in self._measured(chosen)])  # replaces those lost on disk
            if not chosen:
                raise QpertError(f"every trial failed, {failed[0] if failed else 'or was stopped early'}")
            return chosen, failed, ray.get(server.stats.remote())

    def _measured(self, chosen: Sequence[Mapping[str, Value]]) -> list[Perturbation]:
        """The settings with these values, each followed by its controls."""
        settings = [self.space.setting(values) for values in chosen]
        return [one for setting in settings for one in (setting, *self.search.objective.controls(setting))]

    def _findings(self, chosen: Sequence[Mapping[str, Value]], outcomes: Outcomes) -> Findings:
        trials = []
        for values in {key_of(self.space.setting(values)): values for values in chosen}.values():
            setting, *controls = self._measured([values])
            ranks, *shuffled = (outcomes.find(key_of(one)) for one in (setting, *controls))
            if ranks is None or None in shuffled:
                raise QpertError(f"the outcome of {values} is gone from {outcomes.folder}: run the same command again")
            trials.append(Trial(values, setting, ranks, tuple(one for one in shuffled if one is not None)))
        plain = outcomes.find(PLAIN)
        assert plain is not None
        return Findings.of(trials, plain, self.search.objective, samples=self.spec.samples, seed=self.spec.seed)


def _captioned(spec: TuningSpec, split: str) -> set[str]:
    captions = read_captions(str(spec.captions), None if split == "all" else split, strict=spec.strict_annotations)
    return {image.image_id for image in captions}

"""One encoder through `qpert tune`: tokens, search, tables, and the confirming run."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from jobs.confirming import confirm
from jobs.evaluate import annotated_areas
from jobs.experiment import question as question_key
from pipeline.cluster.machines import Machines
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.captions.reading import read_captions
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import can_match, check_room, encoder_spec
from pipeline.errors import QpertError
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import Material, on_disk, scenes
from pipeline.experiments.measuring import Variant
from pipeline.experiments.outcomes import Outcomes
from pipeline.experiments.settings import PLAIN
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.printing import printable
from pipeline.retrieval.text import EmbeddedTexts, load_text_encoder
from pipeline.runs.attempts import readable
from pipeline.runs.options import OnMachines
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.tuning.actors import staffed_desk
from pipeline.tuning.findings import Findings
from pipeline.tuning.search import run_search
from pipeline.tuning.token_embedder import kept_photos
from pipeline.tuning.trial_server import Counters, Question, key_of
from pipeline.tuning.tuning_report import Confirmed, Cost, write_report
from pipeline.workers.device import dtype_for

if TYPE_CHECKING:
    from jobs.tune import Config
    from pipeline.method.settings import Perturbation
    from pipeline.tuning.search import Search
    from pipeline.tuning.space import Space, Value

SEARCHED, CONFIRMED = 2, 1
"""Series of the scenes that are searched on, and of those that the best is confirmed on."""


@dataclass(frozen=True)
class Tuning:
    """What to search with one encoder."""

    config: Config
    encoder: str
    space: Space
    search: Search

    @property
    def folder(self) -> Path:
        """Of everything that belongs to this encoder."""
        return Path(self.config.out).absolute() / self.encoder

    @cached_property
    def searched(self) -> set[str]:
        """The photos of the captions that will be searched on, present or not; of scenes, their numbers."""
        config = self.config
        return _photos(config, config.split) if config.images else {*map(str, range(config.scenes))}

    @property
    def token_bytes(self) -> int:
        """What the image tokens will take on disk at most: GPUs of some kinds compute in float32 whatever is asked."""
        config = self.config
        elsewhere = config.address or os.environ.get("RAY_ADDRESS") or Machines.here().gpus
        dtype = "float32" if elsewhere else dtype_for(None, config.dtype)
        return len(self.searched) * encoder_spec(self.encoder, config.weights).token_bytes(dtype)

    @property
    def text_dtype(self) -> str:
        """Of the encoder that reads the captions."""
        on_cpu = self.config.device == "cpu"
        return dtype_for(None, self.config.dtype) if on_cpu or self.config.dtype == "auto" else self.config.dtype

    def check(self) -> None:
        """Raise QpertError where it shows before the work that it cannot be done."""
        config = self.config
        if self.token_bytes > config.cache_limit * 1e9:
            raise QpertError(
                f"the image tokens of {len(self.searched):,} photos take up to {self.token_bytes / 1e9:.1f} GB with"
                f" {self.encoder}: allow that (--cache-limit), take a smaller --dtype, or search on fewer photos"
            )
        check_room(self.encoder, config.weights, config.device, self.text_dtype)
        confirmed = _photos(config, config.confirm_split) if config.images and config.confirm_split != "none" else set()
        if both := sorted(self.searched & confirmed):
            raise QpertError(
                f"{len(both):,} photos, such as {both[0]}, are in the split {config.split} and in"
                f" {config.confirm_split}: the best must be confirmed on photos that took no part in the choice."
                " Name other splits (COCO's own captions have none), or --confirm-split none"
            )

    def plan(self) -> str:
        """What would be done."""
        search, config = self.search, self.config
        count = len(self.space.grid()) if search.searcher == "grid" else search.trials
        confirmed = "" if config.confirm_split == "none" else "; the best is confirmed on other photos"
        return (
            f"{self.encoder} ({config.weights or 'miniature'}): {len(self.searched):,} photos pass the backbone once,"
            f" their tokens take up to {self.token_bytes / 1e9:.2f} GB; {count} settings by {search.searcher},"
            f" {search.scheduler}, for the most {search.metric}{confirmed}; all of it in {self.folder}"
        )

    def run(self) -> tuple[str, int]:
        """Do what is not done yet; the report, and how many trials failed for good."""
        print(self.plan(), file=sys.stderr, flush=True)
        try:
            with Folder.open(str(self.folder)).exclusive():
                return self._run()
        except ray.exceptions.RayError as error:
            raise readable(error) from error

    def _run(self) -> tuple[str, int]:
        started = time.monotonic()
        material = self._material(self.config.split, SEARCHED)
        tokens = str(self.folder / "tokens")
        wanted = [self.space.setting(each) for each in self.space.samples()]
        variants = Variants({PLAIN: None}, with_tokens=True, to_come=tuple(wanted))
        passed = index_variants(self._options(material, tokens), variants)
        store = FeatureStore(tokens)
        features = store.open(PLAIN)
        kept = kept_photos(features)
        if not kept:
            reasons = "; ".join(sorted({*features.failures.values()})[:3])
            raise QpertError(f"none of the photos could be embedded: {reasons or 'there are none'}")
        store.tokens.remove_others({each.file for each in kept})
        key = question_key({PLAIN: Variant(tokens, PLAIN)}, material)
        outcomes = self.folder / "outcomes" / key
        chosen, failed, counters = self._search(material, features, outcomes, key, len({each.file for each in kept}))
        for line in failed:
            print(f"warning: a trial failed for good, {printable(line)}", file=sys.stderr)
        found = self._findings(chosen, Outcomes(outcomes))
        confirmed = self._confirmed(found.best.setting)
        seconds = time.monotonic() - started
        cost = Cost(passed, len(features), len(features.failures), store.tokens.bytes(), counters, seconds)
        title = f"{self.encoder} ({self.config.weights or 'miniature'}), searched for {self.search.metric}"
        drawn = {"samples": self.config.samples, "seed": self.config.seed}
        return write_report(self.folder, title, found, self.space, cost, confirmed, **drawn), len(failed)

    def _confirmed(self, best: Perturbation) -> Confirmed | None:
        config = self.config
        if config.confirm_split == "none":
            return None
        material = self._material(config.confirm_split, CONFIRMED)
        which = fingerprint({"photos": material.photos, "setting": key_of(best)})
        options = self._options(material, str(self.folder / f"confirm-{which}"))
        rerank_k = config.rerank_k if config.rerank and can_match(self.encoder) else None
        return confirm(options, material, best, device=config.device, dtype=self.text_dtype, rerank_k=rerank_k)

    def _material(self, split: str, series: int) -> Material:
        config = self.config
        if not config.images:
            return scenes(Path(config.out).absolute(), config.scenes, series)
        boxes = str(config.annotations) if config.annotations else None
        folder = Path(config.out).absolute() / f"photos-{split}"
        found = on_disk(folder, config.images, str(config.captions), boxes, split)
        if found.remark:
            print(f"warning: {printable(found.remark)}", file=sys.stderr)
        return found

    def _options(self, material: Material, out: str) -> IndexSpec:
        config = self.config
        detector = config.detector or DetectorConfig(model="annotated", annotations=material.annotations)
        return IndexSpec(
            source=material.photos,
            out=out,
            encoder=self.encoder,
            weights=config.weights,
            detector=detector,
            dtype=config.dtype,
            batch_size=config.batch_size,
            **vars(OnMachines.of(config)),
        )

    def _search(
        self, material: Material, features: FeatureSet, outcomes: Path, key: str, files: int
    ) -> tuple[list[dict[str, Value]], list[str], Counters]:
        config, space, metric = self.config, self.space, self.search.metric
        reader = load_text_encoder(features, weights=config.weights, device=config.device, dtype=self.text_dtype)
        areas = None
        if material.annotations:
            areas = annotated_areas(material.annotations, list(material.captions), features)
        store, texts = FeatureStore(features.folder), EmbeddedTexts.of(reader, material.captions)
        question = Question(store, material.captions, texts, areas)
        del reader
        how = {name: value for name, value in vars(self.search).items() if name != "concurrent"}
        record = fingerprint({"question": key, "space": dataclasses.asdict(space), "search": how})
        gpus = NamedGpus(config.accelerators, config.wait, begun=True)
        staffed = partial(staffed_desk, question, str(outcomes), self.encoder, files=files, gpus=gpus)
        session = ray_session(config.address, cpus=config.cpus, verbose=config.verbose)
        patience = 60 * config.patience / 3
        with session, staffed(dtype=config.dtype, patience=patience, weights=config.weights) as desk:
            plain = ray.get(desk.ask.remote(None))
            if math.isnan(plain[metric]):
                raise QpertError(f"{metric} cannot be measured here: no query is of that kind; choose another --metric")
            if self.search.searcher == "grid" and self.search.shares == (1.0,):
                desk.expect.remote([space.setting(each) for each in space.grid()])
            chosen, failed = run_search(self.search, space, desk, self.folder / "tune" / record)
            ray.get([desk.ask.remote(space.setting(each)) for each in chosen])  # in case a file has gone since
            if not chosen:
                raise QpertError(f"every trial failed, {failed[0] if failed else 'or was stopped early'}")
            return chosen, failed, ray.get(desk.counts.remote())

    def _findings(self, chosen: Sequence[Mapping[str, Value]], outcomes: Outcomes) -> Findings:
        settings = []
        for values in {key_of(self.space.setting(each)): each for each in chosen}.values():
            setting = self.space.setting(values)
            ranks = outcomes.find(key_of(setting))
            if ranks is None:
                raise QpertError(f"the outcome of {values} is gone from {outcomes.folder}: run the same command again")
            settings.append((values, setting, ranks))
        plain = outcomes.find(PLAIN)
        assert plain is not None
        return Findings.of(settings, plain, self.search.metric, samples=self.config.samples, seed=self.config.seed)


def _photos(config: Config, split: str) -> set[str]:
    return {image.image_id for image in read_captions(str(config.captions), None if split == "all" else split)}

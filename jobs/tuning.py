"""One encoder through `qpert tune`: tokens, search, tables, and the confirming run."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from jobs import index
from jobs.confirming import confirm
from jobs.evaluate import annotated_areas
from jobs.experiment import question as question_key
from jobs.variants import index_variants
from pipeline.datasets.captions import read_captions
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import load_encoder, memory_needed, runtime_env, token_bytes
from pipeline.errors import QpertError
from pipeline.features import FeatureSet
from pipeline.reproduction.material import Material, on_disk, scenes
from pipeline.reproduction.measuring import Variant
from pipeline.reproduction.outcomes import Outcomes
from pipeline.retrieval import embed_texts, load_text_encoder
from pipeline.stages.actor import Worker
from pipeline.stages.identity import fingerprint
from pipeline.stages.machines import Machines
from pipeline.stages.pools import plan_pools
from pipeline.token_shards import remove_others, shard_bytes
from pipeline.tuning.desk import PLAIN, Counters, Desk, Question, key_of
from pipeline.tuning.findings import Findings
from pipeline.tuning.report import Confirmed, Cost, write_report
from pipeline.tuning.search import run_search
from pipeline.tuning.sweep import Sweeper, kept_photos

if TYPE_CHECKING:
    from jobs.tune import Config
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

    @property
    def photos(self) -> int:
        """How many will be searched on, if none is missing."""
        config = self.config
        return len(read_captions(str(config.captions), _split(config.split))) if config.images else config.scenes

    @property
    def token_bytes(self) -> int:
        """What the image tokens will take on disk: in float32 at most, as on CPUs."""
        dtype = "float32" if self.config.dtype == "auto" else self.config.dtype
        return self.photos * token_bytes(self.encoder, self.config.weights, dtype)

    def check(self) -> None:
        """Raise QpertError where it shows before the work that it cannot be done."""
        if self.token_bytes > self.config.cache_limit * 1e9:
            raise QpertError(
                f"the image tokens of {self.photos:,} photos take up to {self.token_bytes / 1e9:.1f} GB with"
                f" {self.encoder}: allow that (--cache-limit), take a smaller --dtype, or search on fewer photos"
            )

    def plan(self) -> str:
        """What would be done."""
        search, config = self.search, self.config
        count = len(self.space.grid()) if search.searcher == "grid" else search.trials
        confirmed = "" if config.confirm_split == "none" else "; the best is confirmed on other photos"
        return (
            f"{self.encoder} ({config.weights or 'miniature'}): {self.photos:,} photos pass the backbone once, their"
            f" tokens take up to {self.token_bytes / 1e9:.2f} GB; {count} settings by {search.searcher},"
            f" {search.scheduler}, for the most {search.metric}{confirmed}; all of it in {self.folder}"
        )

    def run(self) -> str:
        """Do what is not done yet, in the current Ray session, and return the report."""
        print(self.plan(), file=sys.stderr, flush=True)
        started = time.monotonic()
        material = self._material(self.config.split, SEARCHED)
        tokens = str(self.folder / "tokens")
        passed = index_variants(self._options(material, tokens), {PLAIN: None}, with_tokens=True)
        features = FeatureSet.open(tokens, PLAIN)
        kept = kept_photos(features)
        remove_others(tokens, {each.file for each in kept})
        key = question_key({PLAIN: Variant(tokens, PLAIN)}, material)
        outcomes = self.folder / "outcomes" / key
        chosen, counters = self._search(material, features, outcomes, key, len({each.file for each in kept}))
        found = self._findings(chosen, Outcomes(outcomes))
        best = found.best.setting
        confirmed: Confirmed | None = None
        if self.config.confirm_split != "none":
            other = self._material(self.config.confirm_split, CONFIRMED)
            out = str(self.folder / f"confirm-{key_of(best)}")
            options = self._options(other, out)
            confirmed = confirm(options, other, best, device=self.config.device, rerank_k=self._rerank_k)
        seconds = time.monotonic() - started
        cost = Cost(passed, len(features), shard_bytes(tokens), counters, seconds)
        title = f"{self.encoder} ({self.config.weights or 'miniature'}), searched for {self.search.metric}"
        drawn = {"samples": self.config.samples, "seed": self.config.seed}
        return write_report(self.folder, title, found, self.space, cost, confirmed, **drawn)

    @property
    def _rerank_k(self) -> int | None:
        from pipeline.encoders import can_match

        return self.config.rerank_k if self.config.rerank and can_match(self.encoder) else None

    def _material(self, split: str, series: int) -> Material:
        config = self.config
        if not config.images:
            return scenes(Path(config.out).absolute(), config.scenes, series)
        boxes = str(config.annotations) if config.annotations else None
        folder = Path(config.out).absolute() / f"photos-{split}"
        return on_disk(folder, config.images, str(config.captions), boxes, split)

    def _options(self, material: Material, out: str) -> index.Config:
        config = self.config
        detector = config.detector or DetectorConfig(model="annotated", annotations=material.annotations)
        return index.Config(
            source=material.photos,
            out=out,
            encoder=self.encoder,
            weights=config.weights,
            detector=detector,
            dtype=config.dtype,
            batch_size=config.batch_size,
            accelerators=config.accelerators,
            address=config.address,
            cpus=config.cpus,
            verbose=config.verbose,
        )

    def _search(
        self, material: Material, features: FeatureSet, outcomes: Path, key: str, files: int
    ) -> tuple[list[dict[str, Value]], Counters]:
        config = self.config
        texts = list(dict.fromkeys(caption for image in material.captions for caption in image.captions))
        reader = load_text_encoder(features, weights=config.weights, device=config.device)
        areas = None
        if material.annotations:
            areas = annotated_areas(material.annotations, list(material.captions), features)
        question = Question(
            features.out,
            material.captions,
            embed_texts(reader, texts),
            {text: row for row, text in enumerate(texts)},
            areas,
        )
        del reader
        sweepers = self._sweepers(features, files)
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        options = {"num_cpus": 0, "max_concurrency": 10_000, "max_restarts": -1, "label_selector": here}
        desk: Any = ray.remote(Desk).options(**options).remote(question, sweepers, str(outcomes))
        try:
            ray.get(desk.ask.remote(None))
            if self.search.searcher == "grid" and self.search.shares == (1.0,):
                desk.expect.remote([self.space.setting(each) for each in self.space.grid()])
            how = {name: value for name, value in vars(self.search).items() if name != "concurrent"}
            record = fingerprint({"question": key, "space": dataclasses.asdict(self.space), "search": how})
            chosen = run_search(self.search, self.space, desk, self.folder / "tune" / record)
            return chosen, ray.get(desk.counts.remote())
        finally:
            for actor in (desk, *sweepers):
                ray.kill(actor)

    def _sweepers(self, features: FeatureSet, files: int) -> list[Any]:
        config = self.config
        need = partial(memory_needed, self.encoder, config.weights)
        pool = plan_pools(
            Machines.cluster(),
            ["sweep"],
            accelerators=config.accelerators,
            blocks=files,
            needs={"sweep": need},
            dtype=config.dtype,
        )["sweep"]
        worker = Worker(gpu=bool(pool.num_gpus), dtype=config.dtype, threads=pool.threads)
        options = {**pool.options, "max_restarts": -1, "max_task_retries": 3}
        if environment := runtime_env(self.encoder):
            options["runtime_env"] = environment
        make = partial(load_encoder, self.encoder, weights=features.manifest.config.get("weights"))
        arguments = (make, features.out, features.manifest.precision, worker)
        return [ray.remote(Sweeper).options(**options).remote(*arguments) for _ in range(pool.size)]

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


def _split(name: str) -> str | None:
    return None if name == "all" else name

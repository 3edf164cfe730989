"""The cost of a search of fifty settings, against one cold evaluation and against fifty of them, at BLIP-2's real size.

The models have random weights, on which times do not depend. Ranking is measured separately, at the size of Flickr30K's
test split, since every setting needs it however the vectors are made.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from pipeline.benchmarks.blip2_pass import full_size, random_encoder
from pipeline.benchmarks.evaluation import Sizes, measure_evaluation
from pipeline.benchmarks.evaluation_ways import peak_memory
from pipeline.benchmarks.operator_work import random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.experiments import paper
from pipeline.features.store import FeatureStore
from pipeline.method.objects import Objects
from pipeline.method.settings import Norm, Pca, Perturbation

FLICKR = Sizes(images=1000, texts=5000, vectors=32, dim=256)
"""The gallery on which ranking is measured."""
_DRAWS = 3


@dataclass(frozen=True)
class TuningTimes:
    """Medians over interleaved repetitions, in seconds for one photo unless stated otherwise.

    Attributes:
        backbone: the vision tower.
        one: the Q-Former under one setting.
        all: the Q-Former under all settings, which share keys, values and eigendecompositions.
        disk: writing and reading the photo's tokens.
        ranking: seconds of ranking `FLICKR`, once.
        settings: number of settings.
        images: photos in the batch.
        objects: boxes per photo.
        token_bytes: of one photo on disk.
        peak: peak memory of the process, in bytes.
        threads: torch's threads.
        proof: the Q-Former under the settings of the table of proof, with other keys and other boxes among them.
        proof_settings: number of these; 0 if they were not measured.
    """

    backbone: float
    one: float
    all: float
    disk: float
    ranking: float
    settings: int
    images: int
    objects: int
    token_bytes: int
    peak: int
    threads: int
    proof: float = 0.0
    proof_settings: int = 0

    def _on_flickr(self, photo: float, rankings: int) -> float:
        return FLICKR.images * photo + rankings * self.ranking

    @property
    def cold(self) -> float:
        """Seconds of indexing and evaluating `FLICKR` with one setting."""
        return self._on_flickr(self.backbone + self.one, 1)

    @property
    def search(self) -> float:
        """Seconds of all settings with kept tokens."""
        return self._on_flickr(self.backbone + self.disk + self.all, self.settings)

    @property
    def ratio(self) -> float:
        """Seconds of all settings divided by those of one cold evaluation."""
        return self.search / self.cold

    def _proof(self) -> str:
        if not self.proof_settings:
            return ""
        each = (
            f"{1000 * self.proof / self.proof_settings:.1f} ms a setting, {self.proof_settings} of the table of proof"
        )
        return f"  Q-Former, proof        {1000 * self.proof:8.1f} ms   {each}\n"

    def __str__(self) -> str:
        naive = f"(the naive way: {self.settings})"
        return (
            f"BLIP-2 at its real size, random weights, float32: {self.settings} settings, batch of {self.images},"
            f" {self.objects} objects each, {self.threads} threads; per photo\n"
            f"  vision tower           {1000 * self.backbone:8.1f} ms\n"
            f"  Q-Former, one setting  {1000 * self.one:8.1f} ms\n"
            f"  Q-Former, all          {1000 * self.all:8.1f} ms   {1000 * self.all / self.settings:.1f} ms a setting\n"
            f"{self._proof()}"
            f"  tokens to disk, back   {1000 * self.disk:8.1f} ms   {self.token_bytes / 1e6:.1f} MB\n"
            f"  ranking 1,000 photos x 5,000 captions once: {self.ranking:.2f} s\n"
            f"  1,000 photos: one cold evaluation {self.cold:,.0f} s,"
            f" all {self.settings} settings {self.search:,.0f} s: {self.ratio:.2f} of it {naive}\n"
            f"  memory                 {self.peak / 2**20:8,.0f} MiB at most, of the model and this batch"
        )


def fifty() -> list[Perturbation]:
    """All weights of Tables C and D, with their five scales and two thresholds."""
    points = itertools.product(paper.WEIGHTS, paper.SCALES, (0.9, paper.TABLE_C_THRESHOLD))
    return [Perturbation.paper(scale, threshold, weight) for weight, scale, threshold in points]


def settings_of_proof() -> list[Perturbation | None]:
    """Settings like those of the table of proof: plain, all keys and norms, and the controls with `_DRAWS` seeds."""
    own = [Perturbation(scale=4, pca=pca, norm=norm) for pca in get_args(Pca) for norm in get_args(Norm)]
    chosen = Perturbation.qpert()
    operators = [dataclasses.replace(chosen, operator=operator) for operator in ("scaled", "orthogonal", "complement")]
    random = [dataclasses.replace(chosen, operator="random", seed=seed) for seed in range(_DRAWS)]
    elsewhere = [dataclasses.replace(chosen, boxes="elsewhere", seed=seed) for seed in range(_DRAWS)]
    shuffled = [dataclasses.replace(p, boxes="shuffled", seed=seed) for p in own for seed in range(_DRAWS)]
    return [None, Perturbation.paper(), *own, *operators, *random, *elsewhere, *shuffled]


def with_others(photo: Objects) -> Objects:
    """The objects with their mirror images in the place of other photos' boxes, which one photo does not have."""
    mirrored = torch.stack([1 - photo.boxes[:, 2], photo.boxes[:, 1], 1 - photo.boxes[:, 0], photo.boxes[:, 3]], 1)
    return Objects(photo.boxes, photo.labels, photo.scores, photo.size, "photo", dict.fromkeys(range(_DRAWS), mirrored))


@torch.inference_mode()
def measure_tuning(
    image_size: int = 364,
    images: int = 2,
    objects: int = 6,
    repetitions: int = 3,
    layers: int | None = None,
    seed: int = 0,
) -> TuningTimes:
    """Measure `TuningTimes`, fp32 on the CPU, with torch's current number of threads.

    Args:
        image_size: side of the square input.
        images: photos in the batch.
        objects: boxes per photo, see `random_objects`.
        repetitions: interleaved; the medians are returned.
        layers: of the vision tower, if smaller than ViT-g.
        seed: of weights, pixels and boxes.
    """
    config = full_size(image_size)
    if layers is not None:
        config.vision_config.num_hidden_layers = layers
    encoder = random_encoder(config, seed)
    pixels, boxes = (
        torch.randn(images, 3, image_size, image_size),
        [*map(with_others, random_objects(images, objects, seed))],
    )
    of_proof = settings_of_proof()
    tokens, settings = encoder.backbone(pixels), fifty()
    with tempfile.TemporaryDirectory(prefix="qpert-benchmark-") as folder:
        kept = FeatureStore(folder).tokens

        def through_disk() -> None:
            kept.read(kept.write(["photos"], [tokens]))[0].sum()

        works: list[Callable[[], object]] = [
            lambda: encoder.backbone(pixels),
            lambda: encoder.embed(tokens, boxes, settings[0]),
            lambda: encoder.embed_each(tokens, boxes, settings),
            lambda: encoder.embed_each(tokens, boxes, of_proof),
            through_disk,
        ]
        medians = [statistics.median(times) / images for times in interleaved(works, repetitions, encoder.device)]
        size = kept.bytes() // images
    peak = peak_memory()
    with tempfile.TemporaryDirectory(prefix="qpert-benchmark-") as folder:
        ranking = measure_evaluation(FLICKR, Path(folder), threads=torch.get_num_threads()).ranking.seconds
    backbone, one, every, proof, disk = medians
    return TuningTimes(
        backbone=backbone,
        one=one,
        all=every,
        proof=proof,
        disk=disk,
        ranking=ranking,
        settings=len(settings),
        proof_settings=len(of_proof),
        images=images,
        objects=objects,
        token_bytes=size,
        peak=peak,
        threads=torch.get_num_threads(),
    )

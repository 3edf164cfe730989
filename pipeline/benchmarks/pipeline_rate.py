"""The pipeline beside the bare loop, over the same photos on the same cores."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch

from pipeline.benchmarks.bare_loop import bare_loop
from pipeline.benchmarks.gpu.utilisation import utilisation
from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.source import find_photos
from pipeline.detectors import load_detector
from pipeline.encoders import load_encoder
from pipeline.errors import QpertError
from pipeline.runs.index_run import IndexRun
from pipeline.runs.run_stats import RunStats
from pipeline.runs.spec import IndexSpec
from pipeline.workers.device import this_device


@dataclass(frozen=True)
class PipelineRates:
    """Photos per second.

    Attributes:
        photos: how many there were.
        encoder: its name.
        detector: its name.
        cores: CPU cores of both sides.
        bare_before: of the bare loop before the pipeline ran.
        bare_after: of the bare loop afterwards; unlike `bare_before` where the machine was busy with other work.
        pipeline: from when all actors were up to the last batch.
        pipeline_from_first_batch: from the first batch on, while other actors still started.
        seconds_in_all: with Ray, models and files.
        busy: stage -> share of the time, from its first batch to its last, that its actors spent on photos: what waits
            for the others is well below 1.
        gpus: GPU -> percent of the time that it computed while the pipeline ran, model loading included.
    """

    photos: int
    encoder: str
    detector: str
    cores: int
    bare_before: float
    bare_after: float
    pipeline: float
    pipeline_from_first_batch: float
    seconds_in_all: float
    busy: dict[str, float] = field(default_factory=dict)
    gpus: dict[int, float] = field(default_factory=dict)

    @property
    def bare(self) -> float:
        """Rate of both bare loops together."""
        return 2 / (1 / self.bare_before + 1 / self.bare_after)

    @property
    def ratio(self) -> float:
        """The pipeline's rate to the bare loop's."""
        return self.pipeline / self.bare

    def __str__(self) -> str:
        return (
            f"{self.photos:,} photos, {self.encoder} and detector {self.detector}, {self.cores} cores\n"
            f"  bare loop  {self.bare:8.1f} images/s   ({self.bare_before:.1f} before, {self.bare_after:.1f} after;"
            f" {self.cores} threads)\n"
            f"  pipeline   {self.pipeline:8.1f} images/s   from when all actors were up to the last batch\n"
            f"  ratio      {self.ratio:8.2f}\n"
            f"  from the first batch on, while other actors still started: {self.pipeline_from_first_batch:.1f}"
            f" images/s; in all, with Ray, models and files: {self.seconds_in_all:.0f} s\n"
            f"  actors at work: {', '.join(f'{stage} {share:.0%}' for stage, share in self.busy.items())}"
            + "".join(f"\n  GPU {gpu} at work: {percent:.0f} %" for gpu, percent in self.gpus.items())
        )


def measure_pipeline(spec: IndexSpec, cores: int, batch: int) -> PipelineRates:
    """Index the photos of a run, and do the same work in the bare loop before and after it.

    Args:
        spec: the run; its limit says how many photos.
        cores: CPU threads of the bare loop.
        batch: photos per call of a model in the bare loop.

    Raises:
        QpertError: photos that are not files of their own or cannot be indexed, too few of them, or a detector that
            does not look at pixels.
    """
    found = find_photos(spec.source)
    if not isinstance(found, Listing) or spec.detector.model == "annotated":
        raise QpertError("the benchmark takes photos in files of their own, and a detector that looks at pixels")
    paths = [uri for batch_of in found.batches(spec.limit) for uri in batch_of.column("uri").to_pylist()]
    device = this_device(torch.cuda.is_available() and spec.accelerators != ["none"])
    detector = None if spec.detector.model == "none" else load_detector(spec.detector, device.torch)
    encoder = load_encoder(spec.encoder, weights=spec.weights, device=device.torch, dtype=device.dtype(spec.dtype))
    loop = partial(bare_loop, paths, encoder, detector, spec.perturbation.build(), batch=batch, threads=cores)
    before = loop()
    with utilisation() as used:
        outcome = IndexRun(spec).run()
    if outcome.totals["failed"]:
        raise QpertError(f"{outcome.totals['failed']} of {len(paths)} photos cannot be indexed: choose others")
    rate, whole = outcome.counts.warm_rate(), outcome.counts.rate()
    if rate is None or whole is None:
        raise QpertError(f"{len(paths)} photos were done before all actors were up; take more --photos")
    return PipelineRates(
        len(paths),
        spec.encoder,
        spec.detector.model,
        cores,
        before,
        loop(),
        rate,
        whole,
        outcome.seconds,
        busy=busy_shares(outcome.counts),
        gpus=used.means(),
    )


def busy_shares(stats: RunStats) -> dict[str, float]:
    """Seconds of work of each stage by the seconds that its actors had, from the first batch to the last."""
    if stats.started is None or not stats.history:
        return {}
    elapsed = stats.history[-1][0] - stats.started
    actors = {stage: sum(devices.values()) for stage, devices in stats.devices.items()}
    return {stage: spent / (elapsed * actors[stage]) for stage, spent in stats.seconds.items() if actors.get(stage)}

"""A few photos indexed for real, to estimate what all of them will take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pipeline.datasets.photos.found_photos import Item, Listing, Shards
from pipeline.encoders import encoder_spec
from pipeline.errors import QpertError
from pipeline.features.file_sizes import block_rows, file_rows
from pipeline.features.store import FeatureStore
from pipeline.runs.estimate import CPU, Sample
from pipeline.runs.graph import IO_CPUS
from pipeline.runs.index_plan import PhotoSample
from pipeline.runs.index_run import IndexRun
from pipeline.runs.outcome import Outcome
from pipeline.runs.spec import IndexSpec


def measure_sample(spec: IndexSpec, count: int, photos: int | None, scratch: str) -> tuple[Sample, int, list[str]]:
    """Indexes a sample of the photos, spread evenly over the source.

    Args:
        spec: as for all photos; `out` must be new.
        count: photos in the sample.
        photos: how many there will be in all; None for those of the source.
        scratch: a local folder for the list of photos.

    Returns:
        What the sample took, the number of photos in all, and warnings.

    Raises:
        QpertError: none of the photos can be indexed, or their number is unknown.
    """
    plan, resume = IndexRun(spec).inspect(scratch)
    photos = photos or resume.total
    if photos is None:
        raise QpertError(f"how many photos {spec.source} holds shows only in reading it; say how many: --photos N")
    chosen, taken = spread(resume.photos, resume.total, count)
    # Blocks as the whole run will have them: larger ones serve GPUs better.
    block = spec.block_size or block_rows(photos)
    sampled = plan.spec.model_copy(update={"block_size": block, "limit": taken})
    outcome = IndexRun(sampled, sample=PhotoSample(chosen, taken, count)).run()
    rows = spec.file_size or file_rows(photos, block, plan.encoder.values, spec.precision)
    return _sample(sampled, outcome, rows), photos, outcome.report.warnings


def spread(photos: Listing | Shards, total: int | None, count: int) -> tuple[Listing | Shards, int]:
    """Returns `count` of the photos, evenly spread, and how many that is; of tars and Parquet with bytes the first."""
    if not isinstance(photos, Listing) or total is None:
        return photos, count if total is None else min(count, total)
    count = min(count, total)

    def items() -> Iterator[Item]:
        for number, item in enumerate(photos.saved_items()):
            if (number + 1) * count // total > number * count // total:
                yield item

    return dataclasses.replace(photos, items=items, saved=None), count


def _sample(spec: IndexSpec, outcome: Outcome, rows: int) -> Sample:
    counts, graph, machines = outcome.counts, outcome.graph, outcome.machines
    assert graph is not None
    assert machines is not None
    if not counts.photos or counts.photos == sum(counts.failures.values()):
        raise QpertError(f"none of the {counts.photos} photos of the sample could be indexed; see qpert index --help")
    fetched, seconds, size = counts.fetched
    actors: dict[tuple[str, str], int] = {}
    work: dict[tuple[str, str], float] = {}
    gpus: dict[str, float] = {}
    for stage in graph.stages:
        name, steps = " + ".join(stage.steps), list(stage.steps)
        for device, number in counts.devices.get(steps[0], {}).items():
            done = [counts.work.get((step, device), (0, 0.0)) for step in steps]
            if all(photos and spent for photos, spent in done):
                work[name, device] = sum(spent / photos for photos, spent in done)
            actors[name, device] = min(number, stage.pool.size)  # an actor that was restarted is counted again
            if device != CPU:
                gpus[device] = max(gpus.get(device, 0.0), actors[name, device] * (stage.pool.num_gpus or 1.0))
    sizes = encoder_spec(spec.encoder, spec.weights, spec.image_size)
    features = sum(FeatureStore(spec.out).file_sizes())
    return Sample(
        photos=counts.photos,
        photo_bytes=size / max(1, fetched),
        row_bytes=features / outcome.totals["photos"],
        read_seconds=seconds / max(1, fetched),
        readers=max(1.0, (machines.cpus - graph.reserved_cpus) // IO_CPUS),
        work=work,
        actors=actors,
        gpus=gpus,
        cores=machines.cpus,
        token_bytes=sizes.token_bytes("float16" if gpus else "float32"),
        rate=counts.warm_rate(),
        file_rows=rows,
    )

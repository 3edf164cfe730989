"""Estimate what indexing many photos will take: time, GPU hours by type, bytes, cost, and the stage that limits it.

Examples:
  qpert plan photos/                                        all photos of a folder, from 256 of them
  qpert plan s3://bucket/photos --photos 1000000000 --out s3://bucket/scratch --encoder blip2
        --weights Salesforce/blip2-itm-vit-g-coco --prices A100=3.70 GeForce-GTX-1080-Ti=0.12 cpu=0.03
  qpert plan photos/ --sample 2000 --json plan.json

A sample of the photos, spread evenly over the source, is indexed for real with the same options on the machines at
hand; what that took is scaled up. The figures hold for photos like these, on these machines, while all of them work;
starting Ray and loading models comes on top. Take a larger --sample on a larger cluster: each actor should get some
hundred photos.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field, field_validator

from jobs import index, indexing
from pipeline.errors import QpertError
from pipeline.io.paths import PathText, ReportPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.datasets.photos.found_photos import Listing, Shards
    from pipeline.runs.estimate import Sample
    from pipeline.runs.index_run import Outcome

_PRICE = re.compile(r"(.+)=(\d+(?:\.\d+)?)")


class Config(index.Options):
    """The options of ``qpert plan``: those of ``qpert index``, and what to scale up to."""

    out: PathText = Field(
        "", description="folder or URI for the sample's features, which are kept (default: none are kept)"
    )
    sample: int = Field(256, ge=16, description="photos to measure on")
    photos: int | None = Field(None, ge=1, description="photos to plan for (default: all of the source)")
    prices: list[str] = Field(
        [], description="of an hour of a GPU, by a part of its name, and of a CPU core: A100=3.70 cpu=0.03"
    )
    json_file: ReportPath | None = Field(
        None, description="write the figures to this file as well", json_schema_extra={"flag": "--json"}
    )

    @field_validator("prices")
    @classmethod
    def _prices(cls, prices: list[str]) -> list[str]:
        for price in prices:
            if not _PRICE.fullmatch(price):
                raise ValueError(f"{price!r} is no price; write NAME=NUMBER, such as A100=3.70")
        return prices


def run(config: Config) -> int:
    """Measure on a sample, and print what all photos will take."""
    import os

    from pipeline.io.locations import join

    if not config.out and (config.address or os.environ.get("RAY_ADDRESS")):
        raise QpertError("on a cluster the sample's features need an --out that all nodes see")
    with TemporaryDirectory(prefix="qpert-plan-") as scratch:
        # A folder of its own each time: what is there already would not be measured again.
        out = join(config.out, f"plan-{uuid4().hex[:8]}") if config.out else f"{scratch}/features"
        chosen = config.model_copy(update={"out": out})
        return _plan(chosen, scratch)


def _plan(config: Config, scratch: str) -> int:
    from pipeline.encoders import encoder_spec
    from pipeline.features.file_sizes import block_rows, file_rows
    from pipeline.features.store import FeatureStore
    from pipeline.reports.plan_text import plan_text
    from pipeline.runs.estimate import estimate, price_of
    from pipeline.runs.resume import inspect
    from pipeline.runs.status_line import Counting

    options, source = index.checked(index.Config(**_options(config)))
    what = indexing.identity(options) | {"sample": config.sample}
    counting = Counting("photos listed")
    found = inspect(FeatureStore(f"{scratch}/none"), what, source, config.limit, counting, f"{scratch}/all.parquet")
    counting.end()
    photos = config.photos or found.total
    if photos is None:
        raise QpertError(f"how many photos {config.source} holds shows only in reading it; say how many: --photos N")
    sample, count = _spread(found.photos, found.total, config.sample)
    # Blocks as the whole run will have them: larger ones serve GPUs better.
    options = options.model_copy(update={"block_size": options.block_size or block_rows(photos)})
    measured = _measure(options, sample, count, what)
    values = encoder_spec(options.encoder, options.weights).embedding_values
    rows = options.file_size or file_rows(photos, options.block_size or 1, values, options.precision)
    measured = dataclasses.replace(measured, file_rows=rows)
    prices = {name: float(price) for each in config.prices for name, price in [_split(each)]}
    result = estimate(measured, photos, prices)
    unknown = [name for name in prices if not any(price_of(device, {name: 1.0}) for device in result.device_hours)]
    if unknown:
        print(f"warning: no price is used of: {', '.join(unknown)}; there is {', '.join(result.device_hours)}")
    print(plan_text(measured, result))
    if config.json_file:
        figures = {"sample": _plain(measured), "estimate": _plain(result)}
        Path(config.json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _options(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config if name in index.Options.model_fields}


def _split(price: str) -> tuple[str, str]:
    name, _, number = price.rpartition("=")
    return name, number


def _spread(photos: Listing | Shards, total: int | None, count: int) -> tuple[Listing | Shards, int]:
    """So many of the photos, evenly spread; of tars and Parquet with bytes the first ones."""
    from pipeline.datasets.photos.found_photos import Item, Listing

    if not isinstance(photos, Listing) or total is None:
        return photos, count if total is None else min(count, total)
    count = min(count, total)

    def items() -> Iterator[Item]:
        for number, item in enumerate(photos.saved_items()):
            if (number + 1) * count // total > number * count // total:
                yield item

    return dataclasses.replace(photos, items=items, saved=None), count


def _measure(options: index.Config, photos: Listing | Shards, count: int, what: dict[str, Any]) -> Sample:
    from pipeline.datasets.photos.found_photos import Listing
    from pipeline.encoders import prepare_environment
    from pipeline.features.store import FeatureStore
    from pipeline.runs.index_run import index_photos

    prepare_environment(options.encoder)
    graph_for = indexing.graphs_for(options, photos, what, count)
    outcome = index_photos(
        lambda machines: dataclasses.replace(graph_for(machines), limit=count),
        indexing.make_manifest(options, what),
        FeatureStore(options.out),
        find_machines=indexing.machines_for(options),
        todo=count,
        exact=isinstance(photos, Listing),
        address=options.address,
        cpus=options.cpus,
        verbose=options.verbose,
    )
    return _sample(options, outcome)


def _sample(options: index.Config, outcome: Outcome) -> Sample:
    from pipeline.encoders import encoder_spec
    from pipeline.features.store import FeatureStore
    from pipeline.runs.estimate import CPU, Sample
    from pipeline.runs.graph import IO_CPUS

    counts, graph, machines = outcome.counts, outcome.graph, outcome.machines
    if not counts.photos or counts.photos == sum(counts.failures.values()):
        raise QpertError(f"none of the {counts.photos} photos of the sample could be indexed; see qpert index --help")
    fetched, seconds, size = counts.fetched
    # An actor that was started again is counted again.
    actors = {
        (stage, device): min(number, graph.pools[stage].size)
        for stage, names in counts.devices.items()
        for device, number in names.items()
    }
    work = {key: spent / done for key, (done, spent) in counts.work.items() if done and spent and key in actors}
    gpus: dict[str, float] = {}
    for (stage, device), number in actors.items():
        if device != CPU:
            gpus[device] = max(gpus.get(device, 0.0), number * (graph.pools[stage].num_gpus or 1.0))
    taken = sum(pool.size * pool.num_cpus for pool in graph.pools.values())
    features = FeatureStore(options.out).feature_bytes()
    dtype = "float32" if not gpus else "float16"
    return Sample(
        photos=counts.photos,
        photo_bytes=size / max(1, fetched),
        row_bytes=features / outcome.totals["photos"],
        read_seconds=seconds / max(1, fetched),
        readers=max(1.0, (machines.cpus - taken) // IO_CPUS),
        work=work,
        actors=actors,
        gpus=gpus,
        cores=machines.cpus,
        token_bytes=encoder_spec(options.encoder, options.weights).token_bytes(dtype),
        rate=counts.warm_rate(),
    )


def _plain(found: Any) -> dict[str, Any]:
    """Of a dataclass, what JSON holds: keys of two parts become "stage, device"."""
    return {
        name: {", ".join(key) if isinstance(key, tuple) else key: each for key, each in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in dataclasses.asdict(found).items()
    }

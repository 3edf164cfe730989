"""Estimate what indexing many photos will take: time, GPU hours by type, bytes, cost, and the limiting stage.

Examples:
  qpert plan photos/                                        all photos of a folder, from 256 of them
  qpert plan s3://bucket/photos --photos 1000000000 --out s3://bucket/scratch --encoder blip2
        --weights Salesforce/blip2-itm-vit-g-coco --prices A100=3.70 GeForce-GTX-1080-Ti=0.12 cpu=0.03
  qpert plan photos/ --sample 2000 --json plan.json
  qpert plan --simulate A100=200 GeForce-GTX-1080-Ti=200 --photos 1000000000 --simulate.parts 100
        --simulate.encode A100=100 GeForce-GTX-1080-Ti=15 --encoder blip2 --weights Salesforce/blip2-itm-vit-g-coco

A sample of the photos, spread evenly over the source, is indexed for real with the same options on the machines at
hand, and the result is scaled up. The figures hold for photos like these, on these machines, while all of them work;
starting Ray and loading models comes on top. Take a larger --sample on a larger cluster: each actor should get a few
hundred photos.

With --simulate nothing is run or read: the graph's scheduling is simulated block by block on machines that need not
exist, at speeds that are given, with failures and with the requests to the store and their price.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field, field_validator

from pipeline.detectors import check_packages
from pipeline.errors import QpertError
from pipeline.io.locations import join
from pipeline.io.paths import PathText, ReportPath
from pipeline.runs.spec import IndexSpec
from pipeline.simulation.options import SimulateConfig, by_name

if TYPE_CHECKING:
    from pipeline.runs.estimate import Estimate, Sample

logger = logging.getLogger(__name__)
_PRICE = re.compile(r"(.+)=(\d+(?:\.\d+)?)")


class Config(IndexSpec):
    """The options of ``qpert plan``: those of ``qpert index``, and the number of photos to scale up to."""

    source: PathText = Field(
        "",
        description="folder, glob, list file, Parquet or webdataset tars; not needed with --simulate",
        json_schema_extra={"positional": True},
    )
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

    simulate: SimulateConfig = Field(
        SimulateConfig(), description="a cluster that is simulated", json_schema_extra={"short": "gpus"}
    )

    @field_validator("prices")
    @classmethod
    def _prices(cls, prices: list[str]) -> list[str]:
        for price in prices:
            if not _PRICE.fullmatch(price):
                raise ValueError(f"{price!r} is not a price; write NAME=NUMBER, such as A100=3.70")
        return prices


def run(config: Config) -> int:
    """Measures on a sample, or simulates, and prints what all photos will take."""
    if config.simulate.gpus:
        return _simulate(config)
    if not config.source:
        raise QpertError("SOURCE is missing: name photos to measure on, or a cluster by --simulate")
    check_packages(config.detector)
    # These import torch and Ray, which `--help` does without.
    from pipeline.runs.estimate import estimate, price_of
    from pipeline.runs.plan_text import plan_text
    from pipeline.runs.sample_run import measure_sample

    if not config.out and (config.address or os.environ.get("RAY_ADDRESS")):
        raise QpertError("on a cluster the sample's features need an --out that all nodes see")
    with TemporaryDirectory(prefix="qpert-plan-") as scratch:
        # A new folder each time: photos that are indexed already would not be measured again.
        out = join(config.out, f"plan-{uuid4().hex[:8]}") if config.out else f"{scratch}/features"
        options = {name: value for name, value in config if name in IndexSpec.model_fields}
        sample, photos, warnings = measure_sample(
            IndexSpec(**options | {"out": out}), config.sample, config.photos, scratch
        )
    prices = by_name(config.prices)
    result = estimate(sample, photos, prices)
    unused = [name for name in prices if not any(price_of(device, {name: 1.0}) for device in result.device_hours)]
    if unused:
        devices = ", ".join(result.device_hours)
        warnings.append(f"no price is used of: {', '.join(unused)}; the devices are {devices}")
    for warning in warnings:
        logger.warning(warning)
    print(plan_text(sample, result))
    if config.json_file:
        figures = {"sample": _plain(sample), "estimate": _plain(result)}
        Path(config.json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _simulate(config: Config) -> int:
    from pipeline.runs.status_line import Counting
    from pipeline.simulation.report import costs_of, simulation_text
    from pipeline.simulation.run import simulate_plan

    if config.photos is None:
        raise QpertError("--simulate needs the number of photos: --photos N")
    counting = Counting("parts simulated")
    options = {name: value for name, value in config if name in IndexSpec.model_fields}
    plan = simulate_plan(
        IndexSpec(**options | {"source": "none", "out": "none"}), config.simulate, config.photos, counting
    )
    counting.end()
    costs = costs_of(plan, config.simulate, by_name(config.prices))
    print(simulation_text(plan, costs))
    if config.json_file:
        text = json.dumps(dataclasses.asdict(costs), indent=2) + "\n"
        Path(config.json_file).write_text(text, encoding="utf-8")
    return 0


def _plain(figures: Sample | Estimate) -> dict[str, Any]:
    """A dataclass as JSON holds it: keys of two parts become "stage, device"."""
    return {
        name: {", ".join(key) if isinstance(key, tuple) else key: number for key, number in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in dataclasses.asdict(figures).items()
    }

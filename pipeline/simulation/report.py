"""A simulated plan as figures and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.runs.estimate import CPU, price_of
from pipeline.runs.plan_text import size, span
from pipeline.simulation.options import SimulateConfig
from pipeline.simulation.run import SimulatedPlan
from pipeline.simulation.store_requests import price, requests_of

_DRIVER, _BLOCK, _LINEAGE, _MOST_LINEAGE = 987 * 2**20, 11_000, 20_000, 256e6
"""Bytes of a driver: at first, for each block, and for each block as long as Ray keeps its lineage, as measured by
`qpert benchmark graph`."""


@dataclass(frozen=True)
class SimulatedCosts:
    """What a simulated plan takes.

    Attributes:
        hours: of wall-clock time.
        rate: photos per second of wall-clock time.
        driver_share: of the working time in which the driver is at work: at 1 it is the bottleneck.
        shares: stage -> the same of its actors.
        failures: machines and drivers that failed, in all parts.
        repeated: photos that were done again.
        lost_share: of the actors' work that was lost.
        driver_bytes: memory of a driver at the end of a part.
        writes: requests to the store that write, copy or list.
        reads: requests that read or ask for a size.
        read_bytes: from the store.
        feature_bytes: of all features.
        store_price: of requests and reading.
        month_price: of keeping the features for a month.
        device_hours: GPU type -> hours of all its GPUs together; for "cpu", of all cores.
        device_prices: the same -> their price, where one is given.
    """

    hours: float
    rate: float
    driver_share: float
    shares: Mapping[str, float]
    failures: float
    repeated: float
    lost_share: float
    driver_bytes: float
    writes: float
    reads: float
    read_bytes: float
    feature_bytes: float
    store_price: float
    month_price: float
    device_hours: Mapping[str, float]
    device_prices: Mapping[str, float]


def costs_of(plan: SimulatedPlan, options: SimulateConfig, prices: Mapping[str, float]) -> SimulatedCosts:
    """Adds up what the parts took.

    Args:
        plan: the simulated parts.
        options: prices of the store.
        prices: price of an hour of a GPU and of a core, as for `qpert plan`.
    """
    hours, runs = plan.seconds / 3600, plan.runs
    working = sum(run.working for run in runs)
    read = plan.photos + sum(run.repeated for run in runs)
    asked = requests_of(options, read, sum(run.files for run in runs), sum(run.attempts for run in runs))
    stages = {stage: pool.size for stage, pool in plan.layout.pools.items()}
    busy = {stage: sum(run.busy[number] for run in runs) for number, stage in enumerate(stages)}
    blocks = max(run.blocks for run in runs)
    gpus = {kind: count * plan.at_once for kind, count in plan.machines.gpus.items()}
    devices = gpus | {CPU: plan.machines.cpus * plan.at_once}
    device_hours = {device: count * hours for device, count in devices.items()}
    known = {device: price_of(device, prices) for device in device_hours}
    feature_bytes = float(plan.photos * plan.row_bytes)
    return SimulatedCosts(
        hours=hours,
        rate=plan.photos / plan.seconds,
        driver_share=sum(run.driver_busy for run in runs) / working,
        shares={stage: busy[stage] / working / count for stage, count in stages.items()},
        failures=sum(run.failures for run in runs),
        repeated=sum(run.repeated for run in runs),
        lost_share=sum(run.lost for run in runs) / sum(busy.values()),
        driver_bytes=_DRIVER + blocks * _BLOCK + min(blocks * _LINEAGE, _MOST_LINEAGE),
        writes=asked.puts,
        reads=asked.gets,
        read_bytes=read * options.photo_size * 1000,
        feature_bytes=feature_bytes,
        store_price=price(options, asked, read * options.photo_size * 1000),
        month_price=feature_bytes / 1e9 * options.month_price,
        device_hours=device_hours,
        device_prices={device: device_hours[device] * one for device, one in known.items() if one is not None},
    )


def simulation_text(plan: SimulatedPlan, costs: SimulatedCosts) -> str:
    """The figures, a line each."""
    layout, parts = plan.layout, len(plan.runs)
    shares = {"driver": costs.driver_share, **costs.shares}
    slowest = max(shares, key=lambda name: shares[name])
    lines = {
        "SIMULATED": "nothing was run: times of stages are made up or given, overheads were measured on two cores",
        "photos": f"{plan.photos:,} in {parts:,} part{'s' if parts > 1 else ''}, {plan.at_once} at a time",
        "machines": f"{plan.machines} for each part, {plan.machines.nodes * plan.at_once:,} machines in all",
        **{stage: str(pool) for stage, pool in layout.pools.items()},
        "layout": f"blocks of {layout.block_rows} photos, files of {layout.file_rows:,}",
        "time": f"{span(3600 * costs.hours)}, {costs.rate:,.0f} photos/s",
        "busy": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + f": {slowest} is the bottleneck",
        "failures": f"{costs.failures:,.0f}; {costs.repeated:,.0f} photos were done again,"
        f" {costs.lost_share:.2%} of the work was lost",
        "driver": f"{size(costs.driver_bytes)} of memory at the end of a part",
        "requests": f"{costs.writes:,.0f} that write, copy or list, {costs.reads:,.0f} that read,"
        f" {costs.store_price:,.2f} with reading",
        "to read": f"{size(costs.read_bytes)}, {size(costs.read_bytes / costs.hours / 3600)} a second",
        "features": f"{size(costs.feature_bytes)}, {costs.month_price:,.2f} a month",
        "hours": ", ".join(f"{hours:,.0f} of {_named(kind)}" for kind, hours in costs.device_hours.items()),
    }
    if costs.device_prices:
        each = ", ".join(f"{kind} {one:,.2f}" for kind, one in costs.device_prices.items())
        total = sum(costs.device_prices.values()) + costs.store_price
        lines["cost"] = f"{total:,.2f} ({each}, store {costs.store_price:,.2f})"
    return "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def _named(device: str) -> str:
    return "CPU cores" if device == CPU else device

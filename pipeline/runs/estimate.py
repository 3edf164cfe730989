"""Time, cost and bytes of many photos, estimated from a few on the same machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CPU = "cpu"


@dataclass(frozen=True)
class Sample:
    """What a run over a few photos took.

    Attributes:
        photos: how many there were.
        photo_bytes: mean size of an encoded photo.
        row_bytes: mean size of a photo's row in the features.
        read_seconds: mean time of one reader for a photo.
        readers: how many readers the CPUs have room for.
        work: (stage, device) -> mean seconds of one actor for a photo. Actors that share a GPU were measured while
            they shared it.
        actors: (stage, device) -> number of actors.
        gpus: device -> GPUs of that kind that were used; without "cpu".
        cores: CPU cores of the machines.
        token_bytes: size of a photo's image tokens, as `qpert tune` keeps them; 0 if unknown.
        file_rows: photos per Parquet file of the whole run.
        rate: measured photos per second once all actors were up; None if the sample was too small.
    """

    photos: int
    photo_bytes: float
    row_bytes: float
    read_seconds: float
    readers: float
    work: Mapping[tuple[str, str], float]
    actors: Mapping[tuple[str, str], int]
    gpus: Mapping[str, float]
    cores: float
    token_bytes: int = 0
    rate: float | None = None
    file_rows: int = 8192


@dataclass(frozen=True)
class Estimate:
    """What `photos` will take.

    Attributes:
        photos: how many there are.
        rates: stage -> photos per second if it never had to wait.
        seconds: total time if the stages never slow each other down.
        at_most: total seconds if they take turns: they share GPUs and cores, and a short sample does not show how well.
        bottleneck: the slowest stage, which the others wait for.
        shares: device -> its share of the bottleneck's work.
        device_hours: device -> hours of all its GPUs together in `seconds`; for "cpu", of all cores.
        alone: device -> hours that a single such GPU (or the CPU cores) would take for all photos, if it did every
            stage that runs on GPUs.
        feature_bytes: size of the Parquet files.
        files: number of Parquet files.
        read_bytes: bytes to read.
        token_bytes: size of the image tokens, if those of all photos were kept.
        costs: device -> price of its hours, where one is known.
    """

    photos: int
    rates: Mapping[str, float]
    seconds: float
    at_most: float
    bottleneck: str
    shares: Mapping[str, float]
    device_hours: Mapping[str, float]
    alone: Mapping[str, float]
    feature_bytes: float
    files: int
    read_bytes: float
    token_bytes: float
    costs: Mapping[str, float] = field(default_factory=dict)


def estimate(sample: Sample, photos: int, prices: Mapping[str, float] | None = None) -> Estimate:
    """Scales a sample up, for similar photos on the same machines and stages that all work at the same time.

    Args:
        sample: what was measured.
        photos: how many there will be.
        prices: price of an hour of one GPU, by a part of its name ("A100"), and of one core, by "cpu".
    """
    rates = {"read": sample.readers / sample.read_seconds} if sample.read_seconds > 0 else {}
    for stage in dict.fromkeys(stage for stage, _ in sample.work):
        rates[stage] = sum(sample.actors[key] / sample.work[key] for key in sample.work if key[0] == stage)
    bottleneck = min(rates, key=lambda stage: rates[stage])
    seconds = photos / rates[bottleneck]
    hours = seconds / 3600
    last = bottleneck if bottleneck != "read" else next(reversed(rates))
    done = {key[1]: sample.actors[key] / sample.work[key] for key in sample.work if key[0] == last}
    device_hours = {device: count * hours for device, count in sample.gpus.items()} | {CPU: sample.cores * hours}
    priced = {device: price_of(device, prices or {}) for device in device_hours}
    return Estimate(
        photos=photos,
        rates=rates,
        seconds=seconds,
        at_most=max(seconds, photos * sum(1 / rate for stage, rate in rates.items() if stage != "read")),
        bottleneck=bottleneck,
        shares={device: rate / sum(done.values()) for device, rate in done.items()},
        device_hours=device_hours,
        alone={device: photos / rate / 3600 for device, rate in _alone(sample).items()},
        feature_bytes=photos * sample.row_bytes,
        files=-(-photos // sample.file_rows),
        read_bytes=photos * sample.photo_bytes,
        token_bytes=photos * sample.token_bytes,
        costs={device: device_hours[device] * price for device, price in priced.items() if price is not None},
    )


def price_of(device: str, prices: Mapping[str, float]) -> float | None:
    """Looks up the price whose words ("GeForce-GTX-1080-Ti", "A100") occur in the device's name; the longest wins."""
    name = f" {_words(device)} "
    matching = [words for words in prices if f" {_words(words)} " in name]
    return prices[max(matching, key=len)] if matching else None


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9.]+", name.casefold()))


def _alone(sample: Sample) -> dict[str, float]:
    """Device -> photos per second of one such GPU (or of all cores) in its slowest stage."""
    rates: dict[str, float] = {}
    for (stage, device), seconds in sample.work.items():
        rate = sample.actors[stage, device] / seconds / max(1.0, sample.gpus.get(device, 1.0))
        rates[device] = min(rate, rates.get(device, rate))
    # Without devices that did only some of the stages, such as GPUs that are too small for the encoder.
    needed = {stage for stage, device in sample.work if device != CPU} or {stage for stage, _ in sample.work}
    did = {device: {stage for stage, where in sample.work if where == device} for device in rates}
    return {device: rate for device, rate in rates.items() if needed <= did[device]}

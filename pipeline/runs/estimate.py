"""What many photos will take, worked out from what a few took on the same machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CPU = "cpu"


@dataclass(frozen=True)
class Sample:
    """What a run over a few photos showed.

    Attributes:
        photos: how many.
        photo_bytes: of an encoded photo, on average.
        row_bytes: of a photo's row in the features, on average.
        read_seconds: of one reader's time for a photo, on average.
        readers: that there is room for.
        work: (stage, device) -> seconds of one actor's time for a photo, on average. Of several on one GPU each was
            measured beside the others.
        actors: (stage, device) -> how many there were.
        gpus: device -> GPUs of that kind that were used; none of "cpu".
        cores: CPU cores of the machines.
        token_bytes: of a photo's image tokens, as `qpert tune` keeps them; 0 if unknown.
        file_rows: photos per Parquet file of the whole run.
        rate: photos per second once all actors were up, as measured; None where the sample was too small.
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
        photos: how many.
        rates: stage -> photos per second that it could do if it had never to wait.
        seconds: in all, if the stages are never in each other's way.
        at_most: seconds, if they take turns: they share GPUs and cores, and a short sample does not show how well.
        bottleneck: the slowest stage, which the others wait for.
        shares: device -> its part of the bottleneck's work.
        device_hours: device -> hours of all its GPUs together in `seconds`; of "cpu" of all cores.
        alone: device -> hours that all photos would take one such GPU (or the CPU cores) alone, where it did every
            stage that runs on GPUs.
        feature_bytes: of the Parquet files.
        files: how many they are.
        read_bytes: to read.
        token_bytes: if image tokens were kept of all.
        costs: device -> price of these hours, of those that have one.
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
    """Scale a sample up: the photos are alike, the machines the same, and every stage works while the others do.

    Args:
        sample: what was measured.
        photos: how many there will be.
        prices: of an hour of one GPU by a part of its name ("A100"), of one core by "cpu".
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
        shares={device: each / sum(done.values()) for device, each in done.items()},
        device_hours=device_hours,
        alone={device: photos / each / 3600 for device, each in _alone(sample).items()},
        feature_bytes=photos * sample.row_bytes,
        files=-(-photos // sample.file_rows),
        read_bytes=photos * sample.photo_bytes,
        token_bytes=photos * sample.token_bytes,
        costs={device: device_hours[device] * price for device, price in priced.items() if price is not None},
    )


def price_of(device: str, prices: Mapping[str, float]) -> float | None:
    """The price whose words stand in the device's name in that order ("GeForce-GTX-1080-Ti", "A100"), the longest."""
    name = f" {_words(device)} "
    found = [each for each in prices if f" {_words(each)} " in name]
    return prices[max(found, key=len)] if found else None


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9.]+", name.casefold()))


def _alone(sample: Sample) -> dict[str, float]:
    """Device -> photos per second of one GPU of the kind (or of all cores), its slowest stage deciding."""
    rates: dict[str, float] = {}
    for (stage, device), seconds in sample.work.items():
        each = sample.actors[stage, device] / seconds / max(1.0, sample.gpus.get(device, 1.0))
        rates[device] = min(each, rates.get(device, each))
    # Not of a device that did only some of the stages, as GPUs do that are too small for the encoder.
    needed = {stage for stage, device in sample.work if device != CPU} or {stage for stage, _ in sample.work}
    did = {device: {stage for stage, each in sample.work if each == device} for device in rates}
    return {device: rate for device, rate in rates.items() if needed <= did[device]}

"""An estimate in words."""

from __future__ import annotations

from pipeline.reports.text_table import terminal
from pipeline.runs.estimate import CPU, Estimate, Sample


def plan_text(sample: Sample, found: Estimate) -> str:
    """Stages with their rates, then what all photos take."""
    rows = [
        [
            "read",
            "",
            f"{sample.readers:g}",
            f"{1000 * sample.read_seconds:,.2f}",
            f"{found.rates.get('read', 0.0):,.1f}",
        ]
    ]
    for (stage, device), seconds in sample.work.items():
        actors = sample.actors[stage, device]
        rows.append([stage, device, str(actors), f"{1000 * seconds:,.2f}", f"{actors / seconds:,.1f}"])
    table = terminal(["stage", "device", "workers", "ms/photo", "images/s"], rows)
    lines = {
        "sample": f"{sample.photos:,} photos of {size(sample.photo_bytes)} on average",
        "bottleneck": f"{found.bottleneck}: {found.rates[found.bottleneck]:,.1f} images/s"
        + (f" (the sample itself passed at {sample.rate:,.1f})" if sample.rate else ""),
        "photos": f"{found.photos:,}",
        "time": f"{span(found.seconds)} to {span(found.at_most)}, by how well the stages work side by side",
        "to read": f"{size(found.read_bytes)}, {size(found.read_bytes / found.seconds)} a second",
        "features": f"{size(found.feature_bytes)} in some {found.files:,} files",
        "token cache": f"{size(found.token_bytes)}, if qpert tune kept the image tokens of all"
        if found.token_bytes
        else "unknown for this encoder",
        "work": ", ".join(f"{device} {share:.0%}" for device, share in found.shares.items()),
        "hours": ", ".join(_hours(found, device) for device in found.device_hours),
        "one alone": ", ".join(f"{_named(device)} {span(3600 * hours)}" for device, hours in found.alone.items()),
    }
    if found.costs:
        longer, cost = found.at_most / found.seconds, sum(found.costs.values())
        each = ", ".join(f"{device} {price:,.2f}" for device, price in found.costs.items())
        lines["cost"] = f"{cost:,.2f} to {cost * longer:,.2f} (at least: {each})"
        million = 1e6 / found.photos * cost
        lines["per million"] = f"{million:,.2f} to {million * longer:,.2f}"
    return table + "\n\n" + "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def _hours(found: Estimate, device: str) -> str:
    least = found.device_hours[device]
    most = least * found.at_most / found.seconds
    return f"{least:,.1f} to {most:,.1f} of {'CPU cores' if device == CPU else device}"


def _named(device: str) -> str:
    return "all CPU cores" if device == CPU else device


def size(count: float) -> str:
    """``512 B``, ``14.2 kB``, ``1.9 PB``: powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} PB"


def span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 hours``, ``61.2 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 72 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:,.1f} days"

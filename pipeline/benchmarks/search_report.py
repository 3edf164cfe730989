"""The figures of ``qpert benchmark search``, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.benchmarks.search_figures import Memory
from pipeline.benchmarks.search_http import HttpMeasure
from pipeline.benchmarks.search_run import Measure
from pipeline.benchmarks.search_scan import ScanRates


@dataclass(frozen=True)
class EngineFigures:
    """An engine with one setting.

    Attributes:
        name: as the table has it.
        build: seconds that building its index took; None where it was there already.
        bytes: of its index on disk, without the vectors that are compared again.
        measure: how it searches.
    """

    name: str
    build: float | None
    bytes: int
    measure: Measure


@dataclass(frozen=True)
class SearchFigures:
    """All figures of one set.

    Attributes:
        what: the set, in words.
        photos: in it.
        texts: that it was searched with.
        cores: of this machine.
        load: of the machine before, as os.getloadavg() has it.
        raw_bytes: of the vectors that are compared again, on disk.
        scan: the exact scan; None if the vectors are not in raw files.
        engines: qpert first.
        http: of a server; None if none was asked.
    """

    what: str
    photos: int
    texts: int
    cores: int
    load: float
    raw_bytes: int
    scan: ScanRates | None
    engines: tuple[EngineFigures, ...]
    http: HttpMeasure | None = None

    def __str__(self) -> str:
        """A table."""
        lines = [
            f"{self.what}; {self.texts:,} texts, {self.cores} cores, load {self.load:.1f} before;"
            f" vectors to compare again: {_size(self.raw_bytes)}"
        ]
        if self.scan is not None:
            lines.append(
                f"  exact scan {self.scan.scan:,.0f} photos/s, a bare product over mapped half floats"
                f" {self.scan.product:,.0f} photos/s: {self.scan.ratio:.2f} times as fast"
            )
        rows = [_HEADS, *map(_cells, self.engines)]
        if self.http is not None:
            blank = "-"
            latency = [f"{value:.1f}" for value in vars(self.http.latency).values()]
            rates = [f"{rate:,.0f}" for rate in self.http.rates.values()]
            rows.append((f"HTTP {self.http.url}", blank, blank, blank, *latency, *rates, blank, blank, blank))
        return "\n".join([*lines, *_aligned(rows)])


_HEADS = ("", "build", "index", "open s", "p50 ms", "p95", "p99", "1 q/s", "8", "32", "recall@10", "memory", "mapped")


def _cells(engine: EngineFigures) -> tuple[str, ...]:
    measure = engine.measure
    return (
        engine.name,
        "-" if engine.build is None else f"{engine.build:,.0f} s",
        _size(engine.bytes),
        f"{measure.opened:.1f}",
        *(f"{value:.1f}" for value in vars(measure.latency).values()),
        *(f"{rate:,.0f}" for rate in measure.rates.values()),
        f"{measure.recall:.3f}",
        *_sizes(measure.memory),
    )


def _sizes(memory: Memory) -> tuple[str, str]:
    return _size(memory.own), _size(memory.files)


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]

"""The table of a search: every engine in a row, columns aligned."""

from __future__ import annotations

from pipeline.benchmarks.search_figures import Latency, Memory
from pipeline.benchmarks.search_http import HttpMeasure
from pipeline.benchmarks.search_report import EngineFigures, SearchFigures
from pipeline.benchmarks.search_run import Measure
from pipeline.benchmarks.search_scan import ScanRates


def test_the_table_has_a_row_per_engine_and_the_scan_above():
    rates = {1: 100.4, 8: 180.0, 32: 1900.0}
    measure = Measure(1.25, Latency(9.04, 12.0, 20.0), rates, 0.98765, Memory(2_340_000_000, 560_000_000))
    engines = (EngineFigures("qpert", 83.2, 2_300_000_000, measure), EngineFigures("other", None, 5_000_000, measure))
    http = HttpMeasure("http://h:1", Latency(30.0, 40.0, 50.0), rates)
    figures = SearchFigures("A set", 10, 5, 2, 0.5, 16_400_000_000, ScanRates(50_000.0, 40_000.0), engines, http)
    first, scan, *table = str(figures).splitlines()
    assert first == "A set; 5 texts, 2 cores, load 0.5 before; vectors to compare again: 16.40 GB"
    assert "50,000 photos/s" in scan
    assert "40,000 photos/s: 1.25 times as fast" in scan
    heads, qpert, other, served = table
    assert " ".join(qpert.split()) == "qpert 83 s 2.30 GB 1.2 9.0 12.0 20.0 100 180 1,900 0.988 2.34 GB 560.0 MB"
    assert other.split()[:4] == ["other", "-", "5.0", "MB"]
    assert served.split()[1:6] == ["http://h:1", "-", "-", "-", "30.0"]
    assert len({len(line) for line in (heads, qpert, other, served)}) == 1

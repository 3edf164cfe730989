"""The figures of docs/models.md are those of the catalogue."""

from __future__ import annotations

import re

import pytest

from pipeline.encoders.catalogue import find_entries
from pipeline.encoders.published_speed import A100, a100_rates
from tests.docs.pages import ROOT

TABLE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("| model | GFLOP")[2].partition("\n\n")[0]
ROWS = [re.split(r" *\| *", line.strip("| ")) for line in TABLE.splitlines()[2:]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_the_figures_of_its_model(row: list[str]) -> None:
    entry = find_entries(row[0])[0]
    assert entry.gigaflops is not None
    least, most = a100_rates(entry.gigaflops)
    rate = f"{A100[row[0]]:,}, published" if row[0] in A100 else f"{least:,.0f} to {most:,.0f}, estimated"
    memory, tokens = entry.spec.memory("float16") / 1e9, 1000 * entry.spec.token_bytes("float16") / 1e9
    assert row[1:] == [f"{entry.gigaflops:,.1f}", f"{memory:.1f} GB", f"{tokens:.2f} GB", rate]


def test_there_are_rows() -> None:
    assert len(ROWS) == 5

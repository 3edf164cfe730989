"""The figure: the points of the report, in the requested file."""

from __future__ import annotations

import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.errors import QpertError
from pipeline.reports import plot_recall_by_size


@pytest.fixture
def drawn(monkeypatch):
    """The drawn figures."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_png_and_its_points(one, tmp_path, drawn):
    path = tmp_path / "recall.png"
    plot_recall_by_size(one, str(path), by="annotated")
    assert Image.open(path).size[0] > 1000
    panel = drawn[0].axes[0]
    (bars,) = panel.containers
    report, intervals = one.sets[0].evaluation.report, one.sets[0].intervals
    assert bars.lines[0].get_xdata().tolist() == [0, 4]  # bins without a query are gaps
    assert bars.lines[0].get_ydata() == pytest.approx([100 * report.t2i.bins[b].recall[1] for b in (0, 4)])
    (segments,) = [line.get_segments() for line in bars.lines[2]]
    assert segments[1][:, 1] == pytest.approx([100 * end for end in intervals.t2i.bins[4][1]])
    assert [label.get_text() for label in panel.get_xticklabels()][:2] == ["0-10\n20", "10-20\n0"]
    assert "annotated" in panel.get_xlabel()
    assert drawn[0].legends == []


def test_svg_with_both_sets_is_the_same_every_time(two, tmp_path, drawn):
    for name in ("a.svg", "b.svg"):
        plot_recall_by_size(two, str(tmp_path / name))
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert re.findall(r">\s*(\$?old_|new)\s*<", text) == ["$old_", "new"]  # the names are text, not formulas
    assert [len(panel.containers) for panel in drawn[0].axes] == [2, 2]


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.svgz"])
def test_other_files_are_refused(one, name, tmp_path):
    with pytest.raises(QpertError, match=r"a \.png or \.svg file"):
        plot_recall_by_size(one, str(tmp_path / name))


def test_a_place_that_cannot_be_written_is_named(one):
    with pytest.raises(QpertError, match=r"cannot write /proc/nowhere/x\.png"):
        plot_recall_by_size(one, "/proc/nowhere/x.png")

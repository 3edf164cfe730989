"""The page of the table of proof: all encoders, with tables as CSV and a figure each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.experiments.variants import PLAIN
from pipeline.method.settings import Perturbation
from pipeline.reports.difference_text import SHOWN_MEANS
from pipeline.reports.text_table import Table, csv_text, markdown
from pipeline.reproduction.proof.conclusions import conclusions
from pipeline.reproduction.proof.figure import plot_gains
from pipeline.reproduction.proof.measuring import Proof
from pipeline.reproduction.proof.numbers import cost_numbers, figure_numbers, quantity_numbers
from pipeline.reproduction.proof.quantities import METRICS, quantities
from pipeline.reproduction.proof.rows import CHOSEN, SHUFFLED, shown
from pipeline.reproduction.proof.tables import (
    COLUMNS,
    differences_table,
    figures_table,
    quantities_table,
    with_interval,
)
from pipeline.retrieval.contrasts import Contrasts
from pipeline.retrieval.photo_outcomes import PhotoOutcomes

KS = (1, 5)
POOLED = "pooled"
FIGURE = "gain_by_size"


@dataclass(frozen=True)
class Section:
    """One encoder's part of the page.

    Attributes:
        proof: the outcomes.
        contrasts: of the pooled photos first, if there are several series, then of each series.
        tables: as text, by name.
    """

    proof: Proof
    contrasts: Mapping[str, Contrasts]
    tables: Mapping[str, Table]

    @classmethod
    def of(cls, proof: Proof, *, samples: int, seed: int) -> Section:
        """Computes every figure."""
        contrasts = series_contrasts(proof, samples=samples, seed=seed)
        rows, everything = shown(proof.rows), next(iter(contrasts.values()))
        tables = {
            "proof": figures_table(everything, rows, proof.costs),
            "minus_plain": differences_table(everything, rows),
            "quantities": quantities_table(contrasts, quantities(proof.rows)),
        }
        return cls(proof, contrasts, tables)

    @property
    def everything(self) -> Contrasts:
        """The contrasts of all photos."""
        return next(iter(self.contrasts.values()))

    def write(self, folder: Path) -> None:
        """Writes all figures as CSV, and draws them in both formats."""
        tables, rows = folder / "tables", shown(self.proof.rows)
        tables.mkdir(parents=True, exist_ok=True)
        numbers = {
            "proof": figure_numbers(self.contrasts, rows),
            "quantities": quantity_numbers(self.contrasts, quantities(self.proof.rows)),
            "costs": cost_numbers(self.proof.costs),
        }
        for name, lines in numbers.items():
            (tables / f"{name}.csv").write_text(csv_text(lines), encoding="utf-8", newline="")
        for suffix in ("svg", "png"):
            plot_gains(self.everything, rows, folder / f"{FIGURE}.{suffix}", self.proof.encoder)

    def text(self, figure: str) -> Iterator[str]:
        """The paragraphs of this encoder; `figure` is the path of its figure from the page."""
        proof = self.proof
        photos = len(next(iter(self.everything.outcomes.values())))
        yield f"## {proof.encoder} ({proof.weights or 'miniature'})"
        yield (
            f"{photos:,} photos, {self.everything.figure(PLAIN, 'R@1').queries:,} captions"
            f" ({', '.join(proof.series)}). Chosen: {_short(proof.chosen)}. Paper: {_short(proof.paper)}."
        )
        if proof.remark:
            yield f"{proof.remark}."
        yield markdown(*self.tables["proof"])
        yield markdown(*self.tables["minus_plain"])
        yield markdown(*self.tables["quantities"])
        yield f"![Gain of every row by size, {proof.encoder}]({figure})"
        said = conclusions(self.contrasts, shown(proof.rows), quantities(proof.rows), proof.costs)
        yield "\n".join(f"- {sentence}" for sentence in said)
        yield self._runtime()

    def _runtime(self) -> str:
        proof, costs = self.proof, self.proof.costs
        seconds = sum(series.seconds for series in proof.series.values())
        indexed = sum(series.indexed for series in proof.series.values())
        embeddings = len({setting for row in proof.rows for setting in row.settings})
        return (
            f"Runtime: {seconds:.0f} s in this run, with {indexed:,} photos indexed (others were on disk): one pass"
            f" makes all {embeddings} perturbed and plain embeddings of a photo, another the vectors of the rivals."
            " Vectors, passes, bytes, and milliseconds of the model alone:"
            f" {costs.device}, batches of {costs.photos} photos with {costs.objects:.1f} objects each, all rows side by"
            f" side; plain takes {costs.plain:.2f}."
        )


def series_contrasts(proof: Proof, *, samples: int, seed: int) -> dict[str, Contrasts]:
    """The contrasts of the pooled photos, if there are several series, and of each series."""
    outcomes: dict[str, dict[str, PhotoOutcomes]] = {}
    for name, series in proof.series.items():
        like = series.ranks[PLAIN][0]
        outcomes[name] = {
            row: PhotoOutcomes.of(draws, KS, like=like, areas=series.areas) for row, draws in series.ranks.items()
        }
    if len(outcomes) > 1:
        parts = list(outcomes.values())
        pooled = {row: PhotoOutcomes.pooled([part[row] for part in parts]) for row in parts[0]}
        outcomes = {POOLED: pooled, **outcomes}
    return {name: Contrasts(of_series, samples=samples, seed=seed) for name, of_series in outcomes.items()}


def write_page(folder: Path, proofs: Sequence[Proof], origin: str, chosen: str, *, samples: int, seed: int) -> str:
    """Writes the page of all encoders, and each one's tables and figure; returns the page.

    Args:
        folder: for `proof.md`; tables and figures go to `ENCODER/proof` below it.
        proofs: one per encoder.
        origin: the command that made it, its versions and the date.
        chosen: where the chosen settings come from, in a sentence.
        samples: bootstrap resamples of the intervals.
        seed: of the resamples.
    """
    sections = [Section.of(proof, samples=samples, seed=seed) for proof in proofs]
    draws = proofs[0].draws
    lines = [
        "# The table of proof",
        origin,
        "What of the gain is the object's? Every control changes one switch of the chosen setting; *shuffled boxes*"
        " puts as many boxes of other photos in place of a photo's own. Rows that draw something (random, shuffled"
        f" boxes, elsewhere) are averaged over {draws} draws, query by query. {chosen}",
        "Text to image. Figures in percent, differences in points, paired by query; 95 % bootstrap intervals over"
        f" photos. {SHOWN_MEANS[0].upper()}{SHOWN_MEANS[1:]}. Holm: the p value of sign flips over photos, corrected"
        " for all rows, or all quantities, of the table, metric by metric. The draws themselves are not resampled:"
        " intervals hold for these.",
        markdown(*_summary(sections)),
    ]
    for section in sections:
        place = f"{section.proof.encoder}/proof"
        section.write(folder / place)
        lines += section.text(f"{place}/{FIGURE}.svg")
    text = "\n\n".join(lines) + "\n"
    (folder / "proof.md").write_text(text, encoding="utf-8")
    return text


def _summary(sections: Sequence[Section]) -> Table:
    """One line per encoder: the chosen setting's gain, and how much of it other photos' boxes do not give."""
    headers = ["encoder"]
    for metric in METRICS:
        headers += [f"chosen minus plain, {COLUMNS[metric]}", f"own minus shuffled boxes, {COLUMNS[metric]}"]
    lines = []
    for section in sections:
        cells = [section.proof.encoder]
        for metric in METRICS:
            for first in (PLAIN, SHUFFLED):
                cells.append(with_interval(section.everything.contrast(first, CHOSEN, metric)))
        lines.append(cells)
    return headers, lines


def _short(setting: Perturbation) -> str:
    """The fields that differ from the first version's defaults, and the strength."""
    plain = Perturbation()
    always = ("weight", "scale", "threshold", "min_components")
    values = {
        field.name: getattr(setting, field.name)
        for field in dataclasses.fields(setting)
        if field.name in always or getattr(setting, field.name) != getattr(plain, field.name)
    }
    return ", ".join(f"{name} {value}" for name, value in values.items())

"""The findings of a search: every setting with its figures and its gain over plain, and the best one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.method.settings import Perturbation
from pipeline.reports.difference_text import p_text, verdict
from pipeline.reports.text_table import interval_text, percent, points
from pipeline.retrieval.comparison import Difference, compare
from pipeline.retrieval.contrasts import Contrasts
from pipeline.retrieval.intervals import Interval, bootstrap
from pipeline.retrieval.metrics import KS, metrics_of, pick
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.photo_outcomes import PhotoOutcomes
from pipeline.retrieval.ranks import Ranks
from pipeline.tuning.objective import GUARD, Objective
from pipeline.tuning.space import Value


class Trial(NamedTuple):
    """The outcome of one setting.

    Attributes:
        chosen: the values of the searched fields.
        setting: the whole perturbation.
        ranks: the outcome of every query.
        shuffled: the same with shuffled boxes, for each draw; none unless the objective needs them.
    """

    chosen: Mapping[str, Value]
    setting: Perturbation
    ranks: Ranks
    shuffled: tuple[Ranks, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One setting.

    Attributes:
        chosen: the values of the searched fields.
        setting: the whole perturbation.
        metrics: figures in fractions, see `pipeline.retrieval.metrics`; own minus shuffled boxes if searched for.
        interval: interval of the metric that is searched for.
        gain: gain of that metric over plain; of own minus shuffled boxes, own minus plain.
        own: own minus shuffled boxes, if that is searched for.
        loss: how far it is below what it may lose against plain, see `Objective`.
    """

    chosen: Mapping[str, Value]
    setting: Perturbation
    metrics: Mapping[str, float]
    interval: Interval | None
    gain: Difference
    own: Difference | None = None
    loss: float = 0.0

    @property
    def target(self) -> Difference:
        """The difference that is searched for: over plain, or own minus shuffled boxes."""
        return self.own or self.gain


@dataclass(frozen=True)
class Findings:
    """All settings, in the order of their trials.

    Attributes:
        metric: the metric that is shown.
        plain: the figures without objects.
        plain_interval: interval of the metric without objects.
        all: the settings.
        queries: number of queries in the metric's direction.
        objective: what was searched for.
    """

    metric: str
    plain: Mapping[str, float]
    plain_interval: Interval | None
    all: tuple[Finding, ...]
    queries: int
    objective: Objective

    @classmethod
    def of(cls, trials: Sequence[Trial], plain: Ranks, objective: Objective, *, samples: int, seed: int) -> Findings:
        """Compares all settings with plain, and with their controls, with bootstrap intervals over photos."""
        metric, of_plain = objective.metric, metrics_of(plain)
        findings = []
        for chosen, setting, ranks, shuffled in trials:
            metrics = metrics_of(ranks)
            gain = pick(compare(plain, ranks, KS, samples=samples, seed=seed), metric)
            if objective.draws:
                own = own_minus_shuffled(ranks, shuffled, metric, samples=samples, seed=seed)
                metrics[objective.name] = float("nan") if own.difference is None else own.difference
                loss = objective.loss(metrics, of_plain)
                findings.append(Finding(chosen, setting, metrics, own.interval, gain, own, loss))
            else:
                interval = pick(bootstrap(ranks, KS, samples=samples, seed=seed), metric)
                findings.append(Finding(chosen, setting, metrics, interval, gain))
        interval = None
        if objective.draws:
            of_plain[objective.name] = 0.0  # without objects there is nothing to shuffle
        else:
            interval = pick(bootstrap(plain, KS, samples=samples, seed=seed), metric)
        queries = len(plain.image_ranks if metric.startswith("i2t ") else plain.text_ranks)
        return cls(objective.name, of_plain, interval, tuple(findings), queries, objective)

    @property
    def best(self) -> Finding:
        """The setting with the highest metric, the first among equals; one without a figure is never the best.

        Nor is one that loses more than it may against plain, unless all do.
        """
        candidates = [finding for finding in self.measured if not finding.loss] or self.measured or self.all
        return max(candidates, key=lambda finding: finding.metrics[self.metric])

    @property
    def measured(self) -> list[Finding]:
        """The settings with a figure for the metric."""
        return [finding for finding in self.all if not math.isnan(finding.metrics[self.metric])]

    @property
    def corrected(self) -> list[float | None]:
        """P of each setting's difference, corrected for all settings (Holm)."""
        return holm([finding.target.p for finding in self.all])

    def summary(self) -> str:
        """Plain, the best, and how much of that may be chance."""
        if self.objective.draws:
            return self._controlled_summary()
        best = self.best
        better = sum((finding.gain.difference or 0) > 0 for finding in self.all)
        corrected = self.corrected[self.all.index(best)]
        return (
            f"{self.metric}: plain {percent(self.plain[self.metric])} ({interval_text(self.plain_interval)}); best"
            f" {percent(best.metrics[self.metric])} ({interval_text(best.interval)}),"
            f" {points(best.gain.difference)} over plain, 95 % interval"
            f" {interval_text(best.gain.interval, signed=True)}, not corrected for having looked at"
            f" {len(self.all)} ({verdict(best.gain)}), p = {p_text(best.gain.p)}, corrected for {len(self.all)} (Holm)"
            f" {p_text(corrected)}; above plain in {better} of {len(self.all)}"
        )

    def _controlled_summary(self) -> str:
        best, objective = self.best, self.objective
        lost = sum(finding.loss > 0 for finding in self.all)
        allowed = f" more than {100 * objective.may_lose:g} points" if objective.may_lose else ""
        guard = f"{lost} of {len(self.all)} settings are below plain in {GUARD}{allowed} and cannot be the best"
        if best.loss:
            guard += ": all are, so the best is none that should be used"
        corrected = self.corrected[self.all.index(best)]
        return (
            f"{objective.name}, own minus the mean of {objective.draws} draws of other photos' boxes: best"
            f" {points(best.metrics[objective.name])} points, 95 % interval"
            f" {interval_text(best.interval, signed=True)}, not corrected for having looked at {len(self.all)}"
            f" ({verdict(best.target)}), p = {p_text(best.target.p)}, corrected for {len(self.all)} (Holm)"
            f" {p_text(corrected)}. {objective.gain}: {points(best.gain.difference)},"
            f" {interval_text(best.gain.interval, signed=True)}. {guard}"
        )

    def rows(self) -> pa.Table:
        """Every setting with all its fields and figures, and the interval and gain of the metric searched for.

        Searched for own minus shuffled boxes, `p` is that of own against shuffled, `gain` is own minus plain, and
        `loss` is above 0 where the setting cannot be the best.
        """
        lines: list[dict[str, Any]] = []
        for finding, corrected in zip(self.all, self.corrected, strict=True):
            fields = {name: _plain(value) for name, value in finding.setting.as_dict().items()}
            fields["sites"] = fields.get("sites", "all")
            # Those that `as_dict` leaves out at their defaults have a column as well if they were searched.
            fields |= {name: getattr(finding.setting, name) for name in finding.chosen if name not in fields}
            gain = finding.gain
            ends = dict(zip(("low", "high"), finding.interval or (None, None), strict=True))
            gain_ends = dict(zip(("gain_low", "gain_high"), gain.interval or (None, None), strict=True))
            target = finding.target
            tests = {"p": target.p, "p_holm": corrected, "detectable": target.detectable}
            line = {**fields, **finding.metrics, **ends, "gain": gain.difference, **gain_ends, **tests}
            lines.append({**line, "loss": finding.loss} if self.objective.draws else line)
        return pa.Table.from_pylist(lines)


def own_minus_shuffled(own: Ranks, shuffled: Sequence[Ranks], metric: str, *, samples: int, seed: int) -> Difference:
    """What a photo's own boxes give beyond other photos', whose outcomes are averaged query by query over the draws."""
    outcomes = {"shuffled": PhotoOutcomes.of(shuffled, KS, like=own), "own": PhotoOutcomes.of([own], KS)}
    return Contrasts(outcomes, samples=samples, seed=seed).contrast("shuffled", "own", metric)


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value

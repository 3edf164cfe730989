"""What a search maximises: a metric, or what a photo's own boxes give beyond other photos' boxes in that metric.

Own minus shuffled boxes alone would be won by settings that wreck the photos with other boxes, and nearly as much those
with their own. So a setting that loses against plain cannot be the best, and searchers are led away from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.retrieval.metrics import ALL_METRICS

OWN_MINUS_SHUFFLED = "own-minus-shuffled"
GUARD = "R@1"
"""The metric in which the best setting must not lose against plain, whatever is searched for."""
_DEFAULT = "R@1"
_ROUNDING = 1e-9
"""Recalls are quotients: a loss as large as allowed must not exceed it in the last bits."""


@dataclass(frozen=True)
class Objective:
    """What to maximise.

    Attributes:
        metric: see `pipeline.retrieval.metrics`.
        draws: draws of shuffled boxes, whose mean is subtracted; 0 maximises the metric itself.
        may_lose: how far `GUARD` may be below plain, as a fraction, for a setting to be the best; with draws only.
    """

    metric: str
    draws: int = 0
    may_lose: float = 0.0

    @classmethod
    def parse(cls, text: str, draws: int, may_lose: float) -> Objective:
        """From the option: a metric, `own-minus-shuffled`, or `own-minus-shuffled METRIC`.

        Raises:
            QpertError: an unknown metric.
        """
        first, _, rest = text.strip().partition(" ")
        controlled = first == OWN_MINUS_SHUFFLED
        metric = (rest.strip() or _DEFAULT) if controlled else text
        if metric not in ALL_METRICS:
            known = f"{', '.join(ALL_METRICS)}, or {OWN_MINUS_SHUFFLED} and one of these"
            raise QpertError(f"unknown --metric {text!r}; choose one of: {known}")
        return cls(metric, draws, may_lose) if controlled else cls(metric)

    @property
    def name(self) -> str:
        """As in reports: the metric, or `own-minus-shuffled METRIC`."""
        return f"{OWN_MINUS_SHUFFLED} {self.metric}" if self.draws else self.metric

    @property
    def gain(self) -> str:
        """What the gain over plain is called in tables."""
        return f"own minus plain, {self.metric}" if self.draws else "over plain"

    def controls(self, setting: Perturbation) -> list[Perturbation]:
        """The same setting with shuffled boxes, one for each draw."""
        seeds = range(setting.seed, setting.seed + self.draws)
        return [dataclasses.replace(setting, boxes="shuffled", seed=seed) for seed in seeds]

    def score(
        self, own: Mapping[str, float], shuffled: Sequence[Mapping[str, float]], plain: Mapping[str, float]
    ) -> dict[str, float]:
        """What a trial reports to the searcher under `name`, beside its own metrics.

        What a setting loses against plain beyond `may_lose` is taken off.

        Args:
            own: metrics of the setting.
            shuffled: those of its `controls`.
            plain: those without objects.
        """
        if not self.draws:
            return {}
        difference = own[self.metric] - fmean(of_draw[self.metric] for of_draw in shuffled)
        return {self.name: difference - self.loss(own, plain)}

    def loss(self, own: Mapping[str, float], plain: Mapping[str, float]) -> float:
        """How far a setting is below what it may lose against plain; 0 if it may be the best."""
        return max(0.0, plain[GUARD] - self.may_lose - own[GUARD] - _ROUNDING) if self.draws else 0.0

"""What the figures of the table of proof say, in sentences that claim no more than their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.experiments.variants import PLAIN
from pipeline.reproduction.proof.cost import Costs
from pipeline.reproduction.proof.quantities import DIRECTION, DIRECTION_OWN, METRICS, OWN, Quantity
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, RANDOM, SHUFFLED, Row
from pipeline.reproduction.proof.tables import with_interval
from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.contrasts import Contrasts
from pipeline.retrieval.multiple import holm

LEVEL = 0.05
NOT_SHOWN = "not shown: the interval holds zero"
_IN_WORDS = {"R@1": "over all captions", "10%": "where the largest object is below 10 %"}


def conclusions(
    by_series: Mapping[str, Contrasts], rows: Sequence[Row], quantities: Sequence[Quantity], costs: Costs
) -> list[str]:
    """The sentences, most important first.

    Args:
        by_series: the contrasts of each series, and first the pooled ones (if there are several series).
        rows: the rows of the table.
        quantities: see `pipeline.reproduction.proof.quantities`.
        costs: of the rows.
    """
    everything = next(iter(by_series.values()))
    own = [quantity for quantity in quantities if quantity.name == OWN]
    sentences = [_gain(everything)]
    sentences += [_own(by_series, quantity) for quantity in own if quantity.row in (CHOSEN, PAPER)]
    sentences.append(_which(everything, quantities))
    sentences += [
        _direction(everything, quantity) for quantity in quantities if quantity.name in (DIRECTION, DIRECTION_OWN)
    ]
    names = {row.name for row in rows}
    sentences += [_against(everything, control) for control in ("scaled", RANDOM) if control in names]
    sentences += _rivals(everything, [row for row in rows if row.rival], costs)
    return sentences


def _gain(contrasts: Contrasts) -> str:
    """How much of the gain over plain other photos' boxes give as well."""
    parts = []
    for metric in METRICS:
        own, shuffled = (with_interval(contrasts.contrast(PLAIN, name, metric)) for name in (CHOSEN, SHUFFLED))
        parts.append(f"{_IN_WORDS[metric]} {own}, and with other photos' boxes in place of its own {shuffled}")
    return f"**Gain.** The chosen setting minus plain, in points: {'; '.join(parts)}."


def _own(by_series: Mapping[str, Contrasts], quantity: Quantity) -> str:
    parts = []
    for metric in METRICS:
        found = {
            name: contrasts.contrast(quantity.first, quantity.second, metric) for name, contrasts in by_series.items()
        }
        figures = ", ".join(f"{name} {with_interval(contrast)}" for name, contrast in found.items())
        parts.append(f"{_IN_WORDS[metric]} {_standing(list(found.values()))} ({figures})")
    return f"**What is the object's**, own minus shuffled boxes, of {quantity.row}: {'; '.join(parts)}."


def _standing(found: Sequence[Difference]) -> str:
    """Where the intervals lie: of the pooled photos, and of each series."""
    first, others = found[0], found[1:]
    side = _side(first)
    if side == NOT_SHOWN or not others:
        return side
    same = sum(_side(other) == side for other in others)
    return f"{side}, and so in {same} of {len(others)} series by themselves"


def _which(contrasts: Contrasts, quantities: Sequence[Quantity]) -> str:
    """The settings whose own minus shuffled boxes stands the correction for having looked at all quantities."""
    parts = []
    for metric in METRICS:
        found = [contrasts.contrast(quantity.first, quantity.second, metric) for quantity in quantities]
        adjusted = holm([contrast.p for contrast in found])
        stands = [
            quantity.row
            for quantity, contrast, p in zip(quantities, found, adjusted, strict=True)
            if quantity.name in (OWN, DIRECTION_OWN) and p is not None and p < LEVEL and (contrast.difference or 0) > 0
        ]
        parts.append(f"{_IN_WORDS[metric]} {', '.join(stands) or 'none'}")
    return (
        f"**For which settings** own boxes are better than other photos', corrected (Holm) for the {len(quantities)}"
        f" quantities of the table: {'; '.join(parts)}."
    )


def _direction(contrasts: Contrasts, quantity: Quantity) -> str:
    parts = [
        f"{_IN_WORDS[metric]} {with_interval(contrast)} ({_standing([contrast])})"
        for metric in METRICS
        for contrast in [contrasts.contrast(quantity.first, quantity.second, metric)]
    ]
    title, _, rest = quantity.name.partition(": ")
    return f"**{title.capitalize()}**, without longer queries; {rest}: {'; '.join(parts)}."


def _against(contrasts: Contrasts, control: str) -> str:
    meaning = {"scaled": "longer queries without any subspace", RANDOM: "a random subspace of the same rank"}[control]
    parts = [
        f"{_IN_WORDS[metric]} {with_interval(contrast)} ({_standing([contrast])})"
        for metric in METRICS
        for contrast in [contrasts.contrast(control, CHOSEN, metric)]
    ]
    return f"**Against {meaning}** ({control}), the chosen setting is, in points, {'; '.join(parts)}."


def _rivals(contrasts: Contrasts, rivals: Sequence[Row], costs: Costs) -> list[str]:
    """Each rival against the chosen setting, and its cost."""
    sentences = []
    for row in rivals:
        found = [contrasts.contrast(CHOSEN, row.name, metric) for metric in METRICS]
        words = {"above zero": "above", "below zero": "below", NOT_SHOWN: "not shown to differ from"}
        parts = [
            f"{_IN_WORDS[metric]} {words[_side(contrast)]} the chosen setting, {with_interval(contrast)}"
            for metric, contrast in zip(METRICS, found, strict=True)
        ]
        cost = costs.rows[row.name]
        extra = "" if cost.extra is None else f", {cost.extra:+.2f} ms a photo"
        price = f"{cost.vectors:.3g} vectors, {cost.passes:.3g} tower passes{extra}"
        sentences.append(f"**{row.name}**: {'; '.join(parts)}. Cost: {price}.")
    return sentences


def _side(change: Difference) -> str:
    if not change.shown:
        return NOT_SHOWN
    return "above zero" if (change.difference or 0) > 0 else "below zero"

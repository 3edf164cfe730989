"""From the options of a search to its runs, one per encoder, checked before any work starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.encoders import can_match, check_perturbable, miniature_encoders
from pipeline.errors import QpertError
from pipeline.experiments.paper import WEIGHTS
from pipeline.tuning.objective import OWN_MINUS_SHUFFLED, Objective
from pipeline.tuning.run import TuningRun
from pipeline.tuning.search import Search
from pipeline.tuning.space import FINER, PAPER, Range, Space
from pipeline.tuning.spec import FIELDS, TuningSpec

_NUMBERS = {"scale": float, "threshold": float, "background": float, "min_components": int}


def plan_runs(spec: TuningSpec) -> list[TuningRun]:
    """The search with each encoder.

    Raises:
        QpertError: options that are wrong or do not go together, or a search that cannot be done.
    """
    if spec.detector is not None and spec.detector.model == "none":
        raise QpertError("--detector none leaves nothing to perturb with")
    search, space = make_search(spec), make_space(spec)
    if search.objective.draws:
        _check_controlled(spec, space)
    boxes = space.fields.get("boxes", [space.base.boxes])
    if not isinstance(boxes, Range) and "shuffled" in boxes:
        _check_shuffled(spec, space)
    runs = [TuningRun(spec, name, space, search) for name in _encoders(spec)]
    for run in runs:
        run.check()
    return runs


def make_space(spec: TuningSpec) -> Space:
    """The settings to search: the given fields, or the cells of tables C and D.

    Raises:
        QpertError: a perturbation has no such values.
    """
    base = spec.perturbation.build()
    if base is None:
        raise QpertError("--perturbation none leaves nothing to search")
    fields: dict[str, Any] = {}
    for name in FIELDS:
        words: list[str] | None = getattr(spec, name)
        if words and len(words) == 1 and ":" in words[0]:
            fields[name] = Range.parse(words[0])
        elif words:
            fields[name] = [_value(name, word) for word in words]
    space = Space(base, fields)
    tables = PAPER if spec.images else FINER
    if not fields and spec.search == "grid":
        space = Space(base, {}, tables)
    elif not fields:
        space = Space(base, {"weight": WEIGHTS, "scale": tables.scales, "threshold": tables.thresholds})
    space.check()
    if spec.search == "grid":
        space.grid()
    return space


def make_search(spec: TuningSpec) -> Search:
    """How settings are chosen.

    Raises:
        QpertError: names or options that Ray Tune does not know.
    """
    search = Search(
        objective=Objective.parse(spec.metric, spec.draws, spec.may_lose / 100),
        searcher=spec.search,
        searcher_options=_json("--search-options", spec.search_options),
        trials=spec.trials,
        scheduler=spec.scheduler,
        scheduler_options=_json("--scheduler-options", spec.scheduler_options),
        shares=tuple(spec.shares),
        concurrent=spec.concurrent,
        seed=spec.seed,
    )
    search.check()
    return search


def _check_controlled(spec: TuningSpec, space: Space) -> None:
    """Raises a QpertError where own and shuffled boxes cannot be compared."""
    if "boxes" in space.fields or space.base.boxes != "own":
        raise QpertError(f"--metric {OWN_MINUS_SHUFFLED} compares own with shuffled boxes: leave --boxes out")
    annotated = spec.detector is None or spec.detector.model == "annotated"
    if not annotated and spec.confirm_split != "none":
        raise QpertError(
            f"--metric {OWN_MINUS_SHUFFLED}: to confirm the best setting with other photos' boxes, these must be known"
            " beforehand: give --annotations and leave --detector out, or --confirm-split none"
        )


def _check_shuffled(spec: TuningSpec, space: Space) -> None:
    """Raises a QpertError where a best setting with other photos' boxes could not be confirmed after the search."""
    if spec.confirm_split == "none":
        return
    if spec.detector is not None and spec.detector.model != "annotated":
        raise QpertError(
            "--boxes shuffled: to confirm such a setting, the boxes of other photos must be known beforehand: give"
            " --annotations and leave --detector out, or --confirm-split none"
        )
    if spec.rerank and "itm" in space.base.stages:
        raise QpertError(
            "--boxes shuffled: features do not keep the boxes of other photos, so --rerank cannot match with them:"
            " leave --rerank out, or give --perturbation.stages itc"
        )


def _encoders(spec: TuningSpec) -> list[str]:
    if spec.images:
        needed = {name: getattr(spec, name) for name in ("captions", "encoder")}
        missing = [f"--{name}" for name, value in needed.items() if value is None]
        if spec.annotations is None and spec.detector is None:
            missing.append("--annotations or --detector")
        if missing:
            raise QpertError(f"tune --images needs {', '.join(missing)}")
        if spec.profile != "balanced":
            raise QpertError(f"--profile {spec.profile} is of scenes, which are drawn without --images: leave it out")
        if not Path(spec.images).is_dir() and "://" not in spec.images:
            raise QpertError(f"--images {spec.images}: there is no such folder")
    elif spec.captions or spec.annotations:
        raise QpertError("--captions and --annotations go with --images; without them scenes are drawn")
    chosen = [spec.encoder] if spec.encoder else miniature_encoders()
    for name in chosen:
        check_perturbable(name, spec.weights)
        if spec.rerank and not can_match(name) and spec.encoder:
            raise QpertError(f"--rerank: the encoder {name} has no image-text matching; BLIP-2 has")
    return chosen


def _value(name: str, word: str) -> str | float | int:
    kind = _NUMBERS.get(name)
    try:
        return word if kind is None else kind(word)
    except ValueError:
        raise QpertError(f"--{name.replace('_', '-')} {word}: not a number, nor a range LOW:HIGH") from None


def _json(option: str, text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise QpertError(f"{option} is not valid JSON: {error}") from error
    if not isinstance(options, dict):
        raise QpertError(f"{option} takes a JSON object, such as '{{\"grace_period\": 2}}'")
    return options

r"""Search for the best perturbation by Ray Tune, at the price of one pass of the backbone.

Examples:
  qpert tune                                             the cells of tables C and D, the miniatures, on scenes, offline
  qpert tune --encoder blip2 --weight constant 1-area --scale 0.5 1 2 --threshold 0.9 0.99 --metric 10%
  qpert tune --encoder internvl --sites all 0 1 -1 'qllama.*'
  qpert tune --encoder blip2 --scale 0.1:10:log --threshold 0.7:0.99 --search optuna --trials 40
  qpert tune --encoder coca --scale 0.1:10:log --search random --scheduler asha --shares 0.1 0.3 1
  qpert tune --images flickr30k-images --captions dataset_flickr30k.json --annotations flickr30k_entities \
        --encoder blip2 --weights Salesforce/blip2-itm-vit-g-coco

The photos pass the backbone once; their image tokens are kept in --out. A trial then is the cross-attention part alone,
and settings that wait together share keys and eigendecompositions. Its figures are those of `qpert index` and `qpert
evaluate` with that setting. The setting with the most --metric on the split --split is then indexed and measured on
--confirm-split, which took no part in the choice. Interrupted, the same command goes on where it stopped; no setting is
worked out twice. Any searcher and scheduler that Ray Tune knows by name can be used.

Under --out: report.md with tables C and D (or one for each two fields), the same as CSV, heat maps as PNG,
trials.parquet with every figure of every setting, and Ray Tune's record (tensorboard --logdir OUT/ENCODER/tune).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri
from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.io.writable import check_writable
from pipeline.runs.options import ACCELERATORS, PATIENCE, WAIT
from pipeline.runs.perturbation_config import PerturbationConfig

if TYPE_CHECKING:
    from pipeline.tuning.search import Search
    from pipeline.tuning.space import Space

FIELDS = ("operator", "combine", "tokens", "weight", "scale", "threshold", "min_components", "sites")
_NUMBERS = {"scale": float, "threshold": float, "min_components": int}


class Config(BaseModel):
    """What to search, on what, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field("tuning", description="folder for tokens, features and reports; all nodes must see it")
    images: PathText | None = Field(None, description="folder of the photos (with subfolders); none: scenes are drawn")
    captions: LocalPath | None = Field(None, description="Karpathy's or LAVIS' JSON, COCO captions, or a table")
    annotations: LocalPath | None = Field(
        None, description="true boxes: Entities folder, COCO instances or COCO Entities"
    )
    split: str = Field("val", description="of the captions, to search on")
    confirm_split: str = Field("test", description="of the captions, for the confirming run; none leaves that out")
    encoder: str | None = Field(None, description="name of the encoder (default: every one that has a miniature)")
    weights: WeightsText | None = Field(None, description="its weights (default: its miniature)")
    detector: DetectorConfig | None = Field(
        None, description="how objects are found (default: true boxes)", json_schema_extra={"short": "model"}
    )
    metric: str = Field("R@1", description="to be the most of: 10%, R@1, R@5, R@10, mR@1 ..., or i2t and one of these")
    operator: list[str] | None = Field(None, description="values to try, of subspace, orthogonal, eigenvector-rows")
    combine: list[str] | None = Field(None, description="values to try, of sum, mean")
    tokens: list[str] | None = Field(None, description="values to try, of overlap, coverage")
    weight: list[str] | None = Field(None, description="values to try, of constant, area, 1-area, area-0.5, 0.5-area")
    scale: list[str] | None = Field(None, description="values to try, or one range, LOW:HIGH or LOW:HIGH:log")
    threshold: list[str] | None = Field(None, description="values to try, or one range")
    min_components: list[str] | None = Field(None, description="values to try, of 0, 1")
    sites: list[str] | None = Field(None, description="values to try: all, or numbers and names as 0,2,qllama.*")
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(), description="the fields that are not searched", json_schema_extra={"short": "preset"}
    )
    search: str = Field("grid", description="grid, random, or a searcher that Ray Tune knows, such as optuna")
    search_options: str = Field("{}", description="its arguments, as JSON")
    trials: int = Field(50, ge=1, description="how many settings, of a search that is no grid")
    scheduler: str = Field("fifo", description="fifo, asha, or another that Ray Tune knows")
    scheduler_options: str = Field("{}", description="its arguments, as JSON")
    shares: list[float] = Field([1.0], min_length=1, description="growing shares of the photos to measure a trial on")
    concurrent: int = Field(4, ge=1, description="trials at once; each is a process that waits")
    cache_limit: float = Field(50, gt=0, description="GB of image tokens that may be kept")
    rerank: bool = Field(False, description="BLIP-2: re-rank the confirming run by image-text matching as well")
    rerank_k: int = Field(128, ge=1, description="how many of the best to re-rank")
    scenes: int = Field(1000, ge=50, description="without --images: how many scenes to search on, and to confirm on")
    samples: int = Field(2000, ge=100, description="bootstrap resamples of each interval")
    seed: int = Field(0, description="of searchers that draw, and of the bootstrap")
    batch_size: int = Field(32, ge=1, description="photos per call of a model; halved when GPU memory runs out")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field("auto", description="to compute in, and of tokens")
    accelerators: list[str] | None = ACCELERATORS
    wait: float = WAIT
    patience: float = PATIENCE
    device: str = Field("cpu", description="torch device for the texts")
    address: str | None = Field(None, description="Ray cluster to join; auto for the one here (default: RAY_ADDRESS)")
    cpus: int | None = Field(None, ge=1, description="CPU cores for a Ray session started here (default: all)")
    dry_run: bool = Field(False, description="print what would be done and stop")
    verbose: bool = Field(False, description="show Ray's own messages")


def run(config: Config) -> int:
    """Search with each encoder, confirm, and say where the reports are."""
    from jobs.tuning import Tuning
    from pipeline.detectors import check_detector

    check_writable(config.out)
    if is_uri(config.out):
        raise QpertError(f"--out {config.out}: Ray Tune and the reports need a folder that all nodes see, not a URI")
    if config.detector is not None and config.detector.model == "none":
        raise QpertError("--detector none leaves nothing to perturb with")
    runs = [Tuning(config, name, make_space(config), make_search(config)) for name in _encoders(config)]
    for each in runs:
        each.check()
    if config.dry_run:
        print("\n".join(each.plan() for each in runs))
        return 0
    if config.detector is not None:
        check_detector(config.detector)
    failures = 0
    for each in runs:
        text, failed = each.run()
        print(text)
        failures += failed
    return 1 if failures else 0


def make_space(config: Config) -> Space:
    """What is searched: the fields that were given, or else the cells of tables C and D.

    Raises:
        QpertError: a perturbation has no such values.
    """
    from pipeline.experiments.paper import WEIGHTS
    from pipeline.tuning.space import FINER, PAPER, Range, Space

    base = config.perturbation.build()
    if base is None:
        raise QpertError("--perturbation none leaves nothing to search")
    fields: dict[str, Any] = {}
    for name in FIELDS:
        words: list[str] | None = getattr(config, name)
        if words and len(words) == 1 and ":" in words[0]:
            fields[name] = Range.parse(words[0])
        elif words:
            fields[name] = [_number(name, word) for word in words]
    space = Space(base, fields)
    tables = PAPER if config.images else FINER
    if not fields and config.search == "grid":
        space = Space(base, {}, tables)
    elif not fields:
        space = Space(base, {"weight": WEIGHTS, "scale": tables.scales, "threshold": tables.thresholds})
    space.check()
    if config.search == "grid":
        space.grid()
    return space


def make_search(config: Config) -> Search:
    """How settings are chosen.

    Raises:
        QpertError: names or options that Ray Tune does not know.
    """
    from pipeline.retrieval.metrics import ALL_METRICS
    from pipeline.tuning.search import Search

    if config.metric not in ALL_METRICS:
        raise QpertError(f"unknown --metric {config.metric!r}; there are: {', '.join(ALL_METRICS)}")
    search = Search(
        metric=config.metric,
        searcher=config.search,
        searcher_options=_json("--search-options", config.search_options),
        trials=config.trials,
        scheduler=config.scheduler,
        scheduler_options=_json("--scheduler-options", config.scheduler_options),
        shares=tuple(config.shares),
        concurrent=config.concurrent,
        seed=config.seed,
    )
    search.check()
    return search


def _encoders(config: Config) -> list[str]:
    from pipeline.encoders import can_match, check_encoder, miniature_encoders

    if config.images:
        needed = {name: getattr(config, name) for name in ("captions", "encoder")}
        missing = [f"--{name}" for name, value in needed.items() if value is None]
        if config.annotations is None and config.detector is None:
            missing.append("--annotations or --detector")
        if missing:
            raise QpertError(f"tune --images needs {', '.join(missing)}")
        if not Path(config.images).is_dir() and "://" not in config.images:
            raise QpertError(f"--images {config.images}: there is no such folder")
    elif config.captions or config.annotations:
        raise QpertError("--captions and --annotations go with --images; without them scenes are drawn")
    chosen = [config.encoder] if config.encoder else miniature_encoders()
    for name in chosen:
        check_encoder(name, config.weights)
        if config.rerank and not can_match(name) and config.encoder:
            raise QpertError(f"--rerank: the encoder {name} has no image-text matching: BLIP-2 has")
    return chosen


def _number(name: str, word: str) -> str | float | int:
    kind = _NUMBERS.get(name)
    try:
        return word if kind is None else kind(word)
    except ValueError:
        raise QpertError(f"--{name.replace('_', '-')} {word}: not a number, and no range LOW:HIGH") from None


def _json(option: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise QpertError(f"{option} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise QpertError(f"{option} takes a JSON object, such as '{{\"grace_period\": 2}}'")
    return found

"""What Q-Perturbation and its rivals cost: photos per second side by side, vectors, tower passes and bytes per photo.

Each way runs the encode stage itself, without Ray, on the same photos with the same boxes: decoding, preprocessing,
tower, pooling, and the columns of a feature set. They take turns, so that other load on the machine hits all alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.benchmarks.timing import interleaved
from pipeline.datasets.scenes import write_scenes
from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.encoders import load_encoder
from pipeline.encoders.base import Encoder
from pipeline.errors import QpertError
from pipeline.io.images import decode
from pipeline.method.native_grid import NativeGrid
from pipeline.method.settings import Perturbation
from pipeline.reports.text_table import terminal
from pipeline.stages.columns import objects_to_arrow
from pipeline.stages.encode import EncodeStage
from pipeline.stages.multi_config import NO_MULTI, MultiConfig
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

PLAIN, PERTURBED, HIGHER = "plain", "Q-Perturbation", "hi-res"
_RIVALS = {
    "regions": MultiConfig(kinds=("regions",)),
    "crops": MultiConfig(kinds=("crops",)),
    "tiles 2x2": MultiConfig(kinds=("tiles",), tiles=(2,)),
    "tiles 3x3": MultiConfig(kinds=("tiles",), tiles=(3,)),
    "clusters": MultiConfig(kinds=("clusters",)),
    "OEs": MultiConfig(kinds=("objects",)),
}


@dataclass(frozen=True)
class RivalCost:
    """What one way costs.

    Attributes:
        name: of the way.
        images_per_second: median.
        relative: its photos per second as a share of the plain encoder's.
        vectors: mean number of vectors of a photo.
        passes: mean number of tower passes of a photo; one at twice the side counts as one.
        bytes: mean size of a photo's vectors as stored in float16.
    """

    name: str
    images_per_second: float
    relative: float
    vectors: float
    passes: float
    bytes: float


@dataclass(frozen=True)
class RivalCosts:
    """All ways, measured side by side."""

    encoder: str
    photos: int
    objects: float
    image_size: int
    higher: int | None
    costs: tuple[RivalCost, ...]

    def __str__(self) -> str:
        rows = [
            [
                f"{cost.name} ({self.higher} pixels)" if cost.name == HIGHER else cost.name,
                f"{cost.images_per_second:.1f}",
                f"{cost.relative:.2f}",
                f"{cost.vectors:.1f}",
                f"{cost.passes:.1f}",
                f"{cost.bytes:,.0f}",
            ]
            for cost in self.costs
        ]
        head = (
            f"{self.encoder}, {self.photos} photos with {self.objects:.1f} objects each at {self.image_size} pixels;"
            " decoding and encoding, medians, side by side"
        )
        columns = ["", "images/s", "of plain", "vectors", "tower passes", "bytes per photo"]
        return f"{head}\n\n{terminal(columns, rows)}"


def measure_rivals(
    folder: Path,
    encoder: str,
    weights: str | None,
    perturbation: Perturbation | None,
    *,
    photos: int = 48,
    batch: int = 32,
    repetitions: int = 3,
) -> RivalCosts:
    """Time plain encoding, Q-Perturbation and every rival that the encoder can make.

    Args:
        folder: for the scenes that are encoded; their true boxes are the objects.
        encoder: name of the encoder.
        weights: of the encoder; None for its miniature.
        perturbation: of the row Q-Perturbation; None leaves it out.
        photos: how many scenes.
        batch: pictures per call of the model, at most.
        repetitions: of each way; the medians are reported.
    """
    table, objects = _scenes(folder, photos)
    model = load_encoder(encoder, weights=weights)
    ways: dict[str, tuple[Encoder, Perturbation | None, MultiConfig]] = {PLAIN: (model, None, NO_MULTI)}
    if perturbation is not None and model.sites():
        ways[PERTURBED] = model, perturbation, NO_MULTI
    for name, multi in _RIVALS.items():
        if model.sites() or not multi.needs_sites:
            ways[name] = model, None, multi
    side = _side(model)
    with suppress(QpertError):  # such as a tower without positions: then there is no such rival
        ways[HIGHER] = load_encoder(encoder, weights=weights, image_size=2 * side), None, NO_MULTI
    stages = {name: _stage(*way, batch) for name, way in ways.items()}
    works: list[Callable[[], object]] = [partial(stage, table) for stage in stages.values()]
    seconds = [statistics.median(times) for times in interleaved(works, repetitions, model.device)]
    plain = seconds[0]
    costs = [
        _cost(name, stages[name](table), photos / spent, plain / spent, model.dim)
        for name, spent in zip(stages, seconds, strict=True)
    ]
    higher = 2 * side if HIGHER in ways else None
    return RivalCosts(f"{encoder} ({weights or 'miniature'})", photos, objects / photos, side, higher, tuple(costs))


def _scenes(folder: Path, count: int) -> tuple[pa.Table, int]:
    """Photos with their true boxes as the detect stage leaves them, and the number of boxes."""
    write_scenes(folder, count, seed=2)
    boxes = AnnotatedBoxes(folder)
    paths = sorted((folder / "images").iterdir())
    data = [path.read_bytes() for path in paths]
    found = boxes.detect([path.name for path in paths], [decode(photo) for photo in data])
    names = [path.name for path in paths]
    columns: dict[str, Any] = {"image_id": names, "uri": names, "data": data, "objects": objects_to_arrow(found)}
    return pa.table(columns), sum(map(len, found))


def _side(encoder: Encoder) -> int:
    grid = encoder.grid
    return math.isqrt(grid.max_patches) * grid.patch if isinstance(grid, NativeGrid) else grid.image_size


def _stage(encoder: Encoder, perturbation: Perturbation | None, multi: MultiConfig, batch: int) -> EncodeStage:
    def build(*, device: str, dtype: str) -> Encoder:
        return encoder

    worker = Worker(dtype="float32", micro_batch=batch)
    return EncodeStage(build, [perturbation], False, "float16", worker, Reporter(), keep_columns=True, multi=multi)


def _cost(name: str, rows: pa.Table, rate: float, relative: float, dim: int) -> RivalCost:
    if failed := rows["error"].drop_null().to_pylist():
        raise QpertError(f"{name}: {len(failed)} of {rows.num_rows} photos cannot be encoded: {failed[0]}")
    numbers = pc.mean(pc.list_value_length(rows["embedding"])).as_py()
    passes = 1.0
    if "views" in rows.column_names:
        kinds = [view["kind"] for views in rows["views"].to_pylist() for view in views]
        passes += sum(kind in ("crop", "tile") for kind in kinds) / rows.num_rows
    return RivalCost(name, rate, relative, numbers / dim, passes, 2 * numbers)

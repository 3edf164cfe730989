"""What tests match: pairs of photos and texts, and an encoder that scores them by arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.runs.match_run import PAIRS_SCHEMA

TEXTS = ("1", "20", "300")


def matching_encoder(tiny_encoder: Callable[..., Any]) -> Callable[..., Any]:
    """Builds an encoder that adds a text's number to the photo's first token; objects add their area with `itm`."""

    def build(device: str = "cpu", dtype: str = "float32") -> Any:
        import torch

        encoder = tiny_encoder(device, dtype)

        def match(tokens: Any, texts: Any, objects: Any, perturbation: Any) -> Any:
            on = perturbation is not None and "itm" in perturbation.stages
            area = float(objects[0].areas.sum()) if on else 0.0
            return torch.tensor([float(text) for text in texts]) + tokens[0, 0, 0] + area

        encoder.match = match
        return encoder

    return build


def pairs(folder: Path, ids: list[str]) -> pa.Table:
    box = {"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5, "label": "", "score": 1.0}
    rows = [
        {"image_id": name, "uri": str(folder / name), "objects": [box], "texts": list(range(1 + at % 3))}
        for at, name in enumerate(ids)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)

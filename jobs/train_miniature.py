"""Train the bundled miniatures again on synthetic scenes: CoCa, BLIP-2, InternVL-G, SigLIP and YOLO, each for a CPU.

Examples:
  qpert train-miniature coca --out models/coca           an hour and a half on one core
  qpert train-miniature blip2 --out models/blip2         an hour on one core; uses the miniature CoCa's vision tower
  qpert train-miniature internvl --out models/internvl   half an hour on one core; uses the same
  qpert train-miniature open_clip --out models/siglip    half an hour on one core; starts from the miniature CoCa
  qpert train-miniature yolo --out models/
  qpert train-miniature coca --out /tmp/try --steps 20   see it run

The weights in the package were made by these commands; the logs beside them record the results. Use your own with
`--weights models/coca` and `--detector models/yolo.pt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import LocalPath
from pipeline.io.writable import check_writable


class Config(BaseModel):
    """Which model to train, where to, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["coca", "blip2", "internvl", "open_clip", "yolo"] = Field(
        description="coca, blip2, internvl, open_clip (a SigLIP) or yolo", json_schema_extra={"positional": True}
    )
    out: LocalPath = Field(description="folder for the weights and the log")
    steps: int | None = Field(None, ge=1, description="encoders: optimiser steps (default: as for the bundled weights)")
    epochs: int | None = Field(None, ge=1, description="yolo: passes over its scenes (default: as for the bundled)")
    threads: int = Field(1, ge=1, description="CPU threads")


def run(config: Config) -> int:
    """Trains, and prints the result on held-out scenes."""
    # Trainers are imported one by one, because each loads its own model library.
    check_writable(config.out)
    out = Path(config.out)
    command = f"qpert train-miniature {config.model}"
    if config.model != "yolo":
        steps = {"steps": config.steps} if config.steps else {}
        command += f" --steps {config.steps}" if config.steps else ""
        if config.model == "coca":
            from pipeline.miniature.train_coca import CocaSchedule, train_coca

            recall = train_coca(out, CocaSchedule(**steps, threads=config.threads), command)
        elif config.model == "blip2":
            from pipeline.miniature.train_blip2 import Blip2Schedule, train_blip2

            recall = train_blip2(out, Blip2Schedule(**steps, threads=config.threads), command)
        elif config.model == "open_clip":
            from pipeline.miniature.train_siglip import SiglipSchedule, train_siglip

            recall = train_siglip(out, SiglipSchedule(**steps, threads=config.threads), command)
        else:
            from pipeline.miniature.train_internvl import InternVLSchedule, train_internvl

            recall = train_internvl(out, InternVLSchedule(**steps, threads=config.threads), command)["g"]
        print(f"T2I R@1 on 1,000 held-out scenes: {100 * recall:.1f} %\nweights: {out}")
    else:
        from pipeline.miniature.train_yolo import YoloSchedule, train_yolo

        epochs = {"epochs": config.epochs} if config.epochs else {}
        command += f" --epochs {config.epochs}" if config.epochs else ""
        result = train_yolo(out, YoloSchedule(**epochs, threads=config.threads), command)
        print(f"mAP50 on 1,000 held-out scenes: {result['map50']:.3f}\nweights: {out / 'yolo.pt'}")
    return 0

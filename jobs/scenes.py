"""Draw synthetic scenes with captions and exact boxes: a data set for demos, tests and training.

Examples:
  qpert scenes scenes/ --scenes 1000 --seed 1
  qpert index scenes/images --out features/
  qpert evaluate features/ --captions scenes/dataset_scenes.json

A scene shows coloured shapes: one to five of every size, or a crowd. The files have the formats of Flickr30K Entities
(Annotations/, Sentences/) and of Karpathy's JSON (dataset_scenes.json). The same seed gives the same scenes on every
machine.

The profile `balanced` spreads the largest object's area over the ten size bins and names objects whatever their size;
`natural` shows and names mostly large objects, as photo collections do: the miniature models are trained on it.
`crowded` shows 8 to 12 objects and names the three smallest alone, which only one scene has. Every four scenes from the
first differ in the smallest object alone: what tells them apart is that object.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.datasets.scenes import Profile, write_scenes
from pipeline.io.paths import LocalPath
from pipeline.io.writable import check_writable

logger = logging.getLogger(__name__)


class Config(BaseModel):
    """Which scenes, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: LocalPath = Field(description="new folder for the scenes", json_schema_extra={"positional": True})
    scenes: int = Field(
        1000,
        ge=1,
        description="how many scenes, no two with the same content",
        json_schema_extra={"alias": "--count"},  # its name in earlier versions
    )
    seed: int = Field(1, ge=0, description="which series of scenes; 1 is what the miniature models are tested on")
    profile: Profile = Field("balanced", description="what is shown and named")
    split: str = Field("test", min_length=1, description="split that the scenes are put in")


def run(config: Config) -> int:
    """Writes the scenes, and says every few seconds how many are done."""
    reported = time.monotonic()

    def report(done: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > 5:
            reported = time.monotonic()
            logger.info(f"{done:,} of {config.scenes:,} scenes")

    check_writable(config.out)
    target = write_scenes(
        Path(config.out), config.scenes, config.seed, config.profile, split=config.split, report=report
    )
    print(f"{config.scenes:,} scenes: {Path(config.out) / 'images'}\ncaptions: {target}")
    return 0

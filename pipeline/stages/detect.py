"""The detect stage: an actor around a detector that adds each photo's size and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from PIL import Image

from pipeline.detectors import Detector
from pipeline.features.schema import OBJECT_TYPE
from pipeline.method.objects import Objects
from pipeline.stages.columns import objects_to_arrow, shuffled_to_arrow
from pipeline.stages.photo_stage import READ_PHOTOS, Outcomes, PhotoColumns, PhotoStage
from pipeline.workers.photo_mapper import Row
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker, load_model

DETECTED = {"width": pa.int32(), "height": pa.int32(), "objects": pa.list_(OBJECT_TYPE), "seconds": pa.float32()}
"""The columns that detection adds."""

DetectorBuilder = Callable[[str], Detector]
"""From a torch device to a detector."""


class DetectStage(PhotoStage[tuple[str, Image.Image], Objects]):
    """Adds the columns of `DETECTED` to tables of photos.

    Args:
        build: a `DetectorBuilder`.
        worker: how the actor works.
        reporter: where it reports.
        photos: where tables have their photos.
        shuffled: add boxes of other photos as well, in a column `shuffled`, from a detector that knows them.
    """

    stage, model = "detect", "detector"

    def __init__(
        self,
        build: DetectorBuilder,
        worker: Worker,
        reporter: Reporter,
        photos: PhotoColumns = READ_PHOTOS,
        *,
        shuffled: bool = False,
    ) -> None:
        self.shuffled = shuffled
        super().__init__(build, worker, reporter, photos)

    def load(self) -> None:
        """See `PhotoStage`."""
        self.detector: Detector = load_model("detector", lambda: self.build(self.device.torch))

    def prepare(self, image: Image.Image, row: Row) -> tuple[str, Image.Image]:
        """See `PhotoStage`."""
        return row["image_id"], image

    def run(self, items: Sequence[tuple[str, Image.Image]]) -> list[Objects]:
        """See `PhotoStage`."""
        return self.detector.detect([image_id for image_id, _ in items], [image for _, image in items])

    def columns(self, table: pa.Table, outcomes: Outcomes[Objects]) -> Mapping[str, pa.Array]:
        """See `PhotoStage`."""
        sizes = [(None, None) if objects is None else objects.size for objects in outcomes.results]
        others = {"shuffled": shuffled_to_arrow(outcomes.results)} if self.shuffled else {}
        return others | {
            "width": pa.array([width for width, _ in sizes], pa.int32()),
            "height": pa.array([height for _, height in sizes], pa.int32()),
            "objects": objects_to_arrow(outcomes.results),
            "seconds": pa.array(outcomes.seconds, pa.float32()),
        }

"""Which boxes act on a photo's queries: its own, or those of a control."""

from __future__ import annotations

from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.placement import place_elsewhere
from pipeline.method.settings import Perturbation


def acting_objects(objects: Objects, perturbation: Perturbation) -> Objects:
    """The photo's objects with the boxes that `Perturbation.boxes` asks for: as many, in the same order.

    Raises:
        QpertError: boxes of other photos are asked for, and `Objects.shuffled` does not have as many for this seed.
    """
    if perturbation.boxes == "own" or not len(objects):
        return objects
    if perturbation.boxes == "elsewhere":
        boxes = place_elsewhere(objects.boxes, (perturbation.seed, objects.key))
    else:
        others = objects.shuffled.get(perturbation.seed)
        if others is None or len(others) != len(objects):
            raise QpertError(
                f"boxes shuffled: photo {objects.photo or '(without id)'} was not given {len(objects)} boxes of other "
                f"photos for seed {perturbation.seed} (Objects.shuffled)"
            )
        boxes = others
    return Objects(boxes, objects.labels, objects.scores, objects.size, objects.photo)

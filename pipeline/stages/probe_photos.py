"""Photos of our own, which show whether a model works and how far devices differ (`pipeline.workers.device_check`)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pipeline.method.objects import Objects

PROBE_ID = ":probe:"
"""Their id, under which no annotation is found."""
_SIZE = (320, 240)
_COLOURS = ("crimson", "royalblue", "gold", "seagreen", "white", "black")


def probe_photos(count: int = 4) -> list[tuple[Image.Image, Objects]]:
    """Always the same photos, of shapes on noise, with the boxes of the shapes."""
    photos = []
    for number in range(count):
        random = np.random.default_rng(number)
        noise = random.integers(0, 256, (_SIZE[1] // 16, _SIZE[0] // 16, 3), np.uint8)
        image = Image.fromarray(noise).resize(_SIZE, Image.Resampling.BILINEAR)
        draw, boxes = ImageDraw.Draw(image), []
        for shape in range(1 + number):
            width, height = random.integers(24, 120, 2)
            left, top = random.integers(0, _SIZE[0] - width), random.integers(0, _SIZE[1] - height)
            corners = [int(left), int(top), int(left + width), int(top + height)]
            colour = _COLOURS[(number + shape) % len(_COLOURS)]
            (draw.ellipse if shape % 2 else draw.rectangle)(corners, fill=colour)
            boxes.append([corner / _SIZE[axis % 2] for axis, corner in enumerate(corners)])
        photos.append((image, Objects(boxes, ["probe"] * len(boxes), [1.0] * len(boxes), image.size)))
    return photos

"""Builds annotations in the format of Flickr30K Entities."""

from __future__ import annotations


def xml(*boxes, size=(100, 80)):
    corners = ("xmin", "ymin", "xmax", "ymax")
    things = "".join(
        "<object><name>1</name><bndbox>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{things}</annotation>"

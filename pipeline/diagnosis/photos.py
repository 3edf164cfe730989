"""Which formats of photos can be decoded here: a picture of each is decoded as a photo would be."""

from __future__ import annotations

import base64
import io

from PIL import Image

from pipeline.diagnosis.finding import Finding
from pipeline.errors import QpertError
from pipeline.io.images.decoding import decode

TOPIC = "photos"
_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Formats that Pillow writes, too."""
_HEIF = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoAABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAA"
    "AADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAO2"
    "1kYXQAAAAvKAGvEyFkY0D1JyL//2q6n/rQWf9v9lhZ3K6AwVvy+sD2ZJvA86qRnoCHaacwFXg="
)
_JPEG_XL = base64.b64decode("/wpDBgATiAIA2AC1nyAAABUqo4wbvJzr+fJDh8W0jesMbbVtYQljs70wSEg4o9h51cOs+Szgcc/o68AQgpxrJQk=")
"""Pictures of 16 x 16 red pixels, as nothing that is always installed writes these formats."""


def check_formats() -> list[Finding]:
    """Decodes a picture of each format."""
    failures = {name: reason for name in _PILLOW if (reason := _pillow_problem(name)) is not None}
    if reason := _problem(_HEIF):
        failures["HEIF"] = reason
    fine = [name for name in (*_PILLOW, "HEIF") if name not in failures]
    findings = [Finding(TOPIC, "formats", "ok", ", ".join(fine))] if fine else []
    findings += [
        Finding(TOPIC, name, "problem", reason, "pip install --force-reinstall pillow pillow-heif")
        for name, reason in failures.items()
    ]
    reason = _problem(_JPEG_XL)
    remedy = "" if reason is None else "pip install 'qpert[jxl]'"
    return [*findings, Finding(TOPIC, "JPEG XL", "ok", reason or "can be decoded", remedy)]


def _pillow_problem(name: str) -> str | None:
    file = io.BytesIO()
    try:
        Image.new("RGB", (16, 16), (200, 30, 30)).save(file, name)
    except (OSError, KeyError, ValueError) as error:  # Pillow was built without the format's library
        return f"Pillow has no encoder to try it with: {error}"
    return _problem(file.getvalue())


def _problem(data: bytes) -> str | None:
    """Why a picture cannot be decoded; None if it can."""
    try:
        decode(data)
    except QpertError as error:
        return str(error)
    return None

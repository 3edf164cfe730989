"""Decoding photos of many formats to upright 8-bit RGB, or to one short reason why this is not possible."""

from pipeline.io.images.decoding import decode, is_truncated, taken_at
from pipeline.io.images.formats import SUFFIXES, UNDECODABLE
from pipeline.io.images.limits import MAX_PIXELS, MAX_SIDE
from pipeline.io.images.reasons import ImageError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "SUFFIXES", "UNDECODABLE", "ImageError", "decode", "is_truncated", "taken_at"]

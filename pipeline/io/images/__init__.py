"""Decoding photos: whatever people keep in their folders, to upright 8-bit RGB, or one short reason why not."""

from pipeline.io.images.decoding import decode, is_truncated
from pipeline.io.images.formats import SUFFIXES, UNDECODABLE
from pipeline.io.images.limits import MAX_PIXELS, MAX_SIDE
from pipeline.io.images.reasons import ImageError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "SUFFIXES", "UNDECODABLE", "ImageError", "decode", "is_truncated"]

"""Decoding photos: whatever people keep in their folders, to upright 8-bit RGB, or one short reason why not."""

from pipeline.images.decoding import decode, is_truncated
from pipeline.images.formats import SUFFIXES, UNDECODABLE
from pipeline.images.limits import MAX_PIXELS, MAX_SIDE
from pipeline.images.reasons import ImageError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "SUFFIXES", "UNDECODABLE", "ImageError", "decode", "is_truncated"]

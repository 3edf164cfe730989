"""What shows whether a photo has changed since it was read: size, modification time, and a digest of its content."""

from __future__ import annotations

import hashlib

import pyarrow as pa

FILE_STATE = (pa.field("size", pa.int64()), pa.field("mtime", pa.timestamp("us", "UTC")))
"""What a listing tells about a photo's file without opening it: its size in bytes and its modification time."""
PHOTO_STATE = (*FILE_STATE, pa.field("digest", pa.string()))
"""Columns of read photos and of features: the `size` of the photo itself, even if its file holds many; the `mtime` of
that file; and the `digest` by `digest_of`. Unknown values are null."""


def digest_of(photo: bytes) -> str:
    """BLAKE2b of a photo's encoded bytes, as 32 hexadecimal digits: detects changes that size and time do not show."""
    return hashlib.blake2b(photo, digest_size=16).hexdigest()

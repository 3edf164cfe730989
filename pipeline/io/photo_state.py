"""What tells whether a photo has changed since it was read: size, time of change, digest of its content."""

from __future__ import annotations

import hashlib

import pyarrow as pa

FILE_STATE = (pa.field("size", pa.int64()), pa.field("mtime", pa.timestamp("us", "UTC")))
"""What listing knows of a photo's file without opening it: bytes, and when it was changed last."""
PHOTO_STATE = (*FILE_STATE, pa.field("digest", pa.string()))
"""Columns of read photos and of features. `size` is of the photo's own bytes, also where it comes from a file of many,
`mtime` of the file that it comes from, `digest` as `digest_of` has it; null where it is not known."""


def digest_of(photo: bytes) -> str:
    """BLAKE2b of a photo's encoded bytes, 32 hexadecimal digits: shows a change that size and time do not."""
    return hashlib.blake2b(photo, digest_size=16).hexdigest()

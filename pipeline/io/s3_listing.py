"""Listing a folder of an S3 bucket page by page: pyarrow only gives the whole of it, and nothing before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pipeline.errors import first_line
from pipeline.io.locations import answering
from pipeline.io.retrying import retry
from pipeline.io.s3 import S3Bucket, code_of
from pipeline.io.s3_answers import FILES

_MISSING = {"NoSuchBucket": FileNotFoundError, "AccessDenied": PermissionError}


class Listed(NamedTuple):
    """A file or a folder: its name, whether it is a folder, and of a file the size and time of change (µs)."""

    name: str
    is_folder: bool
    size: int | None = None
    mtime: int | None = None


def exists(bucket: S3Bucket, key: str) -> bool:
    """Whether there is an object of this name.

    Raises:
        QpertError: the bucket cannot be listed.
    """
    with answering(f"s3://{bucket.name}/{key}"):
        answer = retry(partial(_page, bucket, key, {"MaxKeys": 1}))
    return any(entry["Key"] == key for entry in answer.get(FILES, ()))


def pages(bucket: S3Bucket, folder: str) -> Iterator[list[Listed]]:
    """What is directly in a folder, about a thousand at a time, in the order in which the store has it.

    Args:
        bucket: the bucket.
        folder: within the bucket, without a slash at its ends; "" for all of it.

    Raises:
        QpertError: the bucket cannot be listed.
    """
    prefix = f"{folder}/" if folder else ""
    token = None
    while True:
        more: dict[str, Any] = {} if token is None else {"ContinuationToken": token}
        with answering(f"s3://{bucket.name}/{folder}", "cannot read the folder"):
            answer = retry(partial(_page, bucket, prefix, more))
        yield [listed for listed in _listed(answer, len(prefix)) if listed.name]
        token = answer.get("NextContinuationToken")
        if not token:
            return


def _page(bucket: S3Bucket, prefix: str, more: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=prefix, Delimiter="/", **more))
    except Exception as error:
        raise _MISSING.get(code_of(error), OSError)(first_line(error)) from error


def _listed(answer: dict[str, Any], start: int) -> Iterator[Listed]:
    for entry in answer.get("CommonPrefixes", ()):
        yield Listed(entry["Prefix"][start:].rstrip("/"), True)
    for entry in answer.get(FILES, ()):
        yield Listed(entry["Key"][start:], False, int(entry["Size"]), _micros(entry["LastModified"]))


def _micros(text: str) -> int:
    """Microseconds since 1970 of a time such as 2026-01-31T12:00:00.000Z."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6)

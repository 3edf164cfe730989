"""An S3 server on loopback for one test or many, and the environment by which any client finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        url: its endpoint.
        key: an access key that it knows.
        secret: the secret to it.
        pid: its process.
    """

    url: str
    key: str
    secret: str
    pid: int

    def environment(self) -> dict[str, str]:
        """What to add to the environment of a process so that ``s3://`` means this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        """A client of boto3, which has nothing in common with what is tested."""
        return _client(self.url, self.key, self.secret)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def make_bucket(self, name: str) -> str:
        """A new bucket; returns its URI."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def upload(self, folder: Path, bucket: str, prefix: str) -> str:
        """The files below a folder, put into a bucket; returns the URI of the copy."""
        client = self.client()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")
        return f"s3://{bucket}/{prefix}"


@lru_cache
def _client(url: str, key: str, secret: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.Session().client("s3", endpoint_url=url, region_name=REGION, **keys)


@contextmanager
def s3_server(*words: str) -> Iterator[S3Server]:
    """Runs moto's server with these options of `tests.buckets.moto_process`; it holds a bucket ``bucket``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.buckets.moto_process", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"moto's server ended with exit code {process.wait()}"
        yield S3Server(**json.loads(line), pid=process.pid)
    finally:
        process.kill()
        process.wait()

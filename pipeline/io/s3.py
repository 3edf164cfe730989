"""What pyarrow cannot do with an S3 bucket: ask within seconds whether it answers, and write on a condition.

boto3 finds credentials, profiles, endpoint and region where the AWS SDK behind pyarrow does, and the options of a URI
count here as there. (obstore, which is smaller, reads no profiles.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pipeline.errors import QpertError, first_line
from pipeline.io.s3_answers import read_files
from pipeline.io.uris import masked, take_apart

CONNECT, READ = 3, 5
"""Seconds to wait for a connection and for an answer."""
_PLEASE = {
    "InvalidAccessKeyId": "the store does not know this access key: check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret does not belong to this access key: check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session has expired: log in again, or renew AWS_SESSION_TOKEN",
    "InvalidToken": "the session token is wrong: check AWS_SESSION_TOKEN, or unset it",
    "NoSuchBucket": "there is no such bucket: create it, or check its name and the endpoint",
    "InvalidBucketName": "this cannot be the name of a bucket",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION, or add ?region=REGION to the URI",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION, or add ?region=REGION to the URI",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes: set it",
}
"""What to do about the codes of errors that no retry mends."""


@dataclass(frozen=True)
class S3Bucket:
    """A bucket and how to talk to it.

    Attributes:
        client: of boto3, for S3.
        name: of the bucket.
    """

    client: Any
    name: str

    @classmethod
    def of(cls, uri: str, *, tries: int = 1) -> S3Bucket:
        """The bucket of an ``s3://`` URI.

        Args:
            uri: with options as pyarrow reads them: region, scheme, endpoint_override, and those of TLS.
            tries: attempts at every request.

        Raises:
            QpertError: there is no such profile, or the endpoint is no URL.
        """
        options = dict(parse_qsl(take_apart(uri)[2].lstrip("?")))
        endpoint = options.get("endpoint_override")
        if endpoint and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        verify: bool | str | None = options.get("tls_ca_file_path") or None
        if options.get("tls_verify_certificates", "true").lower() in ("false", "0"):
            verify = False
        region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        variables = tuple(item for item in os.environ.items() if item[0].startswith("AWS_"))
        try:
            client = _client(endpoint or None, region or None, verify, tries, variables)
        except _errors() as error:
            raise QpertError(f"{masked(uri)}: {first_line(error)}") from error
        return cls(client, take_apart(uri)[0].partition("://")[2].rpartition("@")[2])

    def ask(self, uri: str) -> None:
        """Sends one small request, to learn at once what would otherwise be retried for minutes, or hidden.

        Raises:
            QpertError: nothing answers, the bucket does not exist, or its store refuses the credentials. Lacking
                permissions and passing faults are no reason: whoever uses the bucket meets them, or not.
        """
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

        try:
            self.client.list_objects_v2(Bucket=self.name, MaxKeys=1)
        except ClientError as error:
            if (code := code_of(error)) in _PLEASE:
                raise QpertError(f"{masked(uri)}: {_PLEASE[code]} ({self._where}; it says {code})") from error
        except ConnectionClosedError:  # it is there, and fails just now
            return
        except BotoCoreError as error:
            raise QpertError(
                f"{masked(uri)}: no answer from {self._where} ({masked(first_line(error))}). Is it up, and is its"
                " address right? Given by ?endpoint_override=, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else Amazon's"
            ) from error

    @property
    def _where(self) -> str:
        return f"bucket {self.name} at {masked(self.client.meta.endpoint_url)}"


def ask_buckets(options: object) -> None:
    """Find out within seconds that a bucket does not answer, where opening it would try for long.

    For the process that the user waits for. Its workers are patient: a bucket that answered once will do so again.

    Args:
        options: text, and lists and dictionaries of it at any depth; each bucket whose URI is in it is asked once.

    Raises:
        QpertError: see `S3Bucket.ask`.
    """
    buckets = dict[str, str]()
    for text in _texts(options):
        if text.startswith("s3://"):
            head, _, settings = take_apart(text)
            buckets.setdefault(head + settings, text)
    for uri in buckets.values():
        S3Bucket.of(uri).ask(uri)


def _texts(options: object) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, dict):
        yield from _texts(list(options.values()))
    elif isinstance(options, list | tuple):
        for each in options:
            yield from _texts(each)


def code_of(error: Exception) -> str:
    """The code in an answer of the store, such as ``NoSuchKey``; a number where it has none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


@lru_cache(maxsize=64)
def _client(
    endpoint: str | None,
    region: str | None,
    verify: bool | str | None,
    tries: int,
    variables: tuple[tuple[str, str], ...],
) -> Any:
    """A client of boto3, kept because making one takes a while; `variables` of the environment tell them apart."""
    import boto3
    import botocore
    from botocore.config import Config

    session = boto3.Session()
    config = Config(
        connect_timeout=CONNECT, read_timeout=READ, retries={"total_max_attempts": tries}, max_pool_connections=32
    )
    if session.get_credentials() is None:  # as with pyarrow, requests are not signed then
        config = config.merge(Config(signature_version=botocore.UNSIGNED))
    region = region or session.region_name or "us-east-1"
    client = session.client("s3", endpoint_url=endpoint, region_name=region, verify=verify, config=config)
    if not (urlsplit(client.meta.endpoint_url).hostname or "").endswith(".amazonaws.com"):
        config = config.merge(Config(s3={"addressing_style": "path"}))  # as pyarrow does where an endpoint is given
        client = session.client("s3", endpoint_url=endpoint, region_name=region, verify=verify, config=config)
    client.meta.events.register("before-parse.s3.ListObjectsV2", read_files)
    return client


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError

    return BotoCoreError, ValueError

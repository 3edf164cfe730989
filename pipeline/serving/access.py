"""Who may use the server: the Host header, the bearer token, and pages of other sites."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.errors import QpertError
from pipeline.serving.errors import error_response

OPEN = ("/", "/docs", "/healthz", "/openapi.json")
"""Answered without a token: the page, which asks for it, what load balancers look at, and what is in the sources."""
OPEN_BELOW = "/page/"
_LOCAL = ("localhost", "127.0.0.1", "::1")
MIN_TOKEN, _MAX_TOKEN = 16, 1024


class AccessControl:
    """Lets only those requests through that may come.

    Args:
        app: what answers them.
        token: that requests must bear; None for none.
        hosts: names in the Host header, of any port; None for all.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Sequence[str] | None) -> None:
        self.app = app
        self._token = None if token is None else token.encode()
        self._hosts = None if hosts is None else {*map(str.lower, hosts), *_LOCAL}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await error_response(*refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        # A page of another site could otherwise have its own name resolve to this machine, and read the photos.
        if self._hosts is not None and host_name(headers.get("host", "")) not in self._hosts:
            return 403, "the Host header names another server; start qpert serve with --allow-host to answer to it"
        # Other sites cannot read answers, as CORS is off. This also keeps them from having searches made: they may link
        # here, but forms, which browsers send as navigation too, are not answered.
        reads = scope["method"] in ("GET", "HEAD")
        is_link = reads and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") == "cross-site" and not is_link:
            return 403, "requests from pages of other sites are not answered"
        path = scope["path"]
        is_open = reads and (path in OPEN or path.startswith(OPEN_BELOW))
        if self._token is not None and not is_open:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            given_bytes = given.strip().encode("utf-8", "surrogateescape")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given_bytes, self._token):
                return 401, "a token is needed: Authorization: Bearer TOKEN, with that of the server's --token-file"
        return None


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].rstrip(".")


def read_token(path: str) -> str:
    """The token in a file: its first line.

    Raises:
        QpertError: the file cannot be read, or what it holds is no good token.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_TOKEN + 2)
    except OSError as error:
        raise QpertError(f"cannot read --token-file {path}: {error.strerror}") from error
    token = text.strip().decode("ascii", "replace")
    if not MIN_TOKEN <= len(token) <= _MAX_TOKEN or not all("!" <= letter <= "~" for letter in token):
        raise QpertError(
            f"--token-file {path} must hold one line of at least {MIN_TOKEN} letters, digits and signs;"
            f" make one: openssl rand -hex 32 > {path}"
        )
    return token

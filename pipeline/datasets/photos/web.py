"""Fetching photos by HTTP and HTTPS, with limits on size, addresses, redirects and time."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError

WEB = ("http", "https")
CONNECT_SECONDS, SILENT_SECONDS, TOTAL_SECONDS = 10.0, 30.0, 300.0
"""Limits on connecting, on the silence of a server, and on one photo in all."""
_REDIRECTS = 5
_CHUNK = 1024**2
_LEGAL = "/%!$&'()*+,;=:@~?"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL = "address not public (--allow-local-addresses)"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, rules: SourceRules) -> bytes:
    """The body of the response to a GET request.

    Raises:
        QpertError: the address, a redirect or the size is not allowed, or the server refuses.
        OSError: the network fails, or the server fails temporarily.
    """
    deadline = time.monotonic() + TOTAL_SECONDS
    for hop in range(_REDIRECTS + 1):
        parts = _parts(url, rules)
        # A host in the user's own command may be local; one that a server redirects to only with the option for it.
        trusted = hop == 0 and (parts.hostname or "") in rules.hosts
        connection = _connect(parts, rules, trusted=trusted, deadline=deadline)
        try:
            connection.request("GET", _target(parts), headers={"User-Agent": "qpert", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status not in (301, 302, 303, 307, 308):
                return _body(response, rules)
            url = urljoin(url, response.headers.get("Location") or "")
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server broke off ({type(error).__name__})") from error
        except ValueError as error:  # reading from a socket that the time limit has shut down
            raise ConnectionError("the server broke off") from error
        finally:
            connection.end()
    raise QpertError("too many redirects")


def check_address(host: str, port: int, rules: SourceRules) -> list[str]:
    """Resolve a host, or an IP address in any notation.

    Raises:
        QpertError: one of the addresses is not public, and the rules do not allow local ones.
        OSError: the host cannot be resolved.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]).partition("%")[0] for *_, address in infos]
    if not rules.local_addresses and not all(map(is_public, addresses)):
        raise QpertError(_LOCAL)
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; an address that embeds another counts as that one."""
    place: _Address = ipaddress.ip_address(address)
    if isinstance(place, ipaddress.IPv6Address):
        inner = place.ipv4_mapped or place.sixtofour or (place.teredo[1] if place.teredo else None)
        if place in _NAT64 or place.packed[:12] == bytes(12):
            inner = ipaddress.IPv4Address(place.packed[-4:])
        place = inner or place
    return place.is_global and not place.is_multicast and not place.is_reserved


def _parts(url: str, rules: SourceRules) -> SplitResult:
    try:
        parts = urlsplit(url)
        scheme, _ = parts.scheme.lower(), parts.port
    except ValueError:
        raise QpertError("not a valid URL") from None
    if scheme not in WEB:
        raise QpertError("redirect to another scheme")
    if not parts.hostname:
        raise QpertError("not a valid URL")
    if scheme not in rules.schemes:
        raise QpertError(f"scheme not allowed: {scheme} (--allow-scheme {scheme})")
    return parts


class _Socket(http.client.HTTPConnection):
    """A connection over an open socket, which never opens another."""

    auto_open = 0

    def __init__(self, host: str, port: int, default_port: int, opened: socket.socket) -> None:
        self.default_port = default_port
        super().__init__(host, port)
        self.sock = opened
        self.watch: threading.Timer | None = None

    def end(self) -> None:
        """Close it and its watch. `close` alone leaves the watch: it is also called before a body without an end."""
        if self.watch is not None:
            self.watch.cancel()
        self.close()


def _connect(parts: SplitResult, rules: SourceRules, *, trusted: bool, deadline: float) -> _Socket:
    host, secure = parts.hostname or "", parts.scheme.lower() == "https"
    default = 443 if secure else 80
    port = parts.port or default
    try:
        # The connection goes to exactly the checked addresses: resolving the name again may give others.
        addresses = [host] if trusted else check_address(host, port, rules)
    except (socket.gaierror, UnicodeError) as error:
        raise QpertError("no such host") from error
    opened = _first_open(addresses, port)
    try:
        if secure:
            opened = ssl.create_default_context().wrap_socket(opened, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        opened.close()
        raise QpertError(f"certificate not valid: {error.verify_message}") from error
    except OSError:
        opened.close()
        raise
    opened.settimeout(SILENT_SECONDS)
    connection = _Socket(host, port, default, opened)
    # A server that sends a byte now and then is never silent, so a timer enforces the total limit.
    connection.watch = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [opened])
    connection.watch.daemon = True
    connection.watch.start()
    return connection


def _first_open(addresses: list[str], port: int) -> socket.socket:
    failure: OSError = ConnectionError("no address")
    for address in dict.fromkeys(addresses):
        try:
            return socket.create_connection((address, port), CONNECT_SECONDS)
        except OSError as error:
            failure = error
    raise failure


def _shut(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # already closed


def _target(parts: SplitResult) -> str:
    return quote(parts.path or "/", _LEGAL) + (f"?{quote(parts.query, _LEGAL)}" if parts.query else "")


def _body(response: http.client.HTTPResponse, rules: SourceRules) -> bytes:
    _check_status(response.status)
    length = response.length
    if length is not None and length > rules.max_bytes:
        raise QpertError(f"file too large: {length} bytes, limit {rules.max_bytes}")
    chunks, size = [], 0
    while chunk := response.read(min(_CHUNK, rules.max_bytes + 1 - size)):
        chunks.append(chunk)
        size += len(chunk)
        if size > rules.max_bytes:
            raise QpertError(f"file too large: more than {rules.max_bytes} bytes")
    if length is not None and size < length:
        raise ConnectionError("the server broke off")
    return b"".join(chunks)


def _check_status(status: int) -> None:
    if status in (404, 410):
        raise FileNotFoundError(f"HTTP {status}")
    if status in (401, 403):
        raise PermissionError(f"HTTP {status}")
    if status in (408, 429) or status >= 500:
        raise ConnectionError(f"HTTP {status}")  # may succeed when retried
    if status != 200:
        raise QpertError(f"the server answers HTTP {status}")

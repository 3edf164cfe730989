"""Marks Ray Tune's records as this user's own: a record holds pickles, which can run any code.

A record is marked when it is begun, with a code that only the secret in the user's state folder can make. A record from
elsewhere, however it got into the folder, has no such mark and is never opened.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

_MARK = ".qpert-record"
_BYTES = 32


def mark_as_own(folder: Path) -> None:
    """Marks a folder, which is created if necessary. Without a writable home it stays unmarked."""
    folder.mkdir(parents=True, exist_ok=True)
    code = _code(folder, create=True)
    if code is not None:
        (folder / _MARK).write_text(code, encoding="ascii")


def is_own(folder: Path) -> bool:
    """Whether this user marked this very folder; a copy or a moved folder does not count."""
    try:
        mark = (folder / _MARK).read_bytes()[: 2 * _BYTES + 1]
    except OSError:
        return False
    code = _code(folder, create=False)
    return code is not None and hmac.compare_digest(mark, code.encode())


def _code(folder: Path, *, create: bool) -> str | None:
    secret = _secret(create)
    if secret is None:
        return None
    place = f"{os.path.realpath(folder)}\0{os.stat(folder).st_ino}"
    return hmac.new(secret, place.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _secret(create: bool) -> bytes | None:
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    path = Path(state, "qpert", "secret")
    try:
        if create and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
    except FileExistsError:
        pass  # another run has just made it
    except OSError:
        return None
    try:
        secret = path.read_bytes()
    except OSError:
        return None
    return secret if len(secret) == _BYTES else None

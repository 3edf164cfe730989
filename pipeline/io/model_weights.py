"""Names of weights: a name, a path, `kind:path`, or two of these joined by a plus."""

from __future__ import annotations

import os
import re
import shlex

from pipeline.errors import QpertError

_PUBLISHED = re.compile(r"(hf-hub:)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*|[A-Za-z0-9][\w.-]*:[A-Za-z0-9][\w.-]*")
"""`org/name` of the hub, or `model:tag`."""
_NAMES = ("miniature", "annotated", "none")


def split_weights(weights: str) -> tuple[str, str | None]:
    """Split `FIRST+SECOND` at the plus that is followed by a file, else at the last; paths may contain one too."""
    if "+" not in weights or os.path.exists(os.path.expanduser(weights)):
        return weights, None
    parts = weights.split("+")
    ways = [("+".join(parts[:at]), "+".join(parts[at:])) for at in range(1, len(parts))]
    return next((way for way in ways if os.path.exists(os.path.expanduser(way[1]))), ways[-1])


def absolute_weights(weights: str | None) -> str | None:
    """`weights` with local paths made absolute, because workers and later searches run in other folders."""
    if weights is None or weights in _NAMES:
        return weights
    first, second = split_weights(weights)
    if second is not None:
        return f"{absolute_weights(first)}+{absolute_weights(second)}"
    name, colon, path = weights.rpartition(":")
    local = os.path.abspath(os.path.expanduser(path))
    return f"{name}{colon}{local}" if os.path.exists(local) else weights


def chosen_weights(given: str | None, recorded: object, out: str) -> str | None:
    """The weights to load for a feature set: those of the command, else those of the manifest, if that is safe.

    A feature set may come from anybody. Weights that its manifest names are opened only if they are bundled (None,
    "miniature") or published under a name (a hub id, or a tag of open_clip). Files and folders are opened only if the
    command names them.

    Args:
        given: `--weights` of the command.
        recorded: `weights` of the manifest, not checked yet.
        out: the feature set, for the message.

    Raises:
        QpertError: the manifest names a file or folder, or something that is not a name of weights at all.
    """
    if given is not None:
        return given
    if recorded is None or recorded == "miniature":
        return None
    if not isinstance(recorded, str) or not recorded.isprintable() or len(recorded) > 4096:
        raise QpertError(
            f"the manifest of {out} names impossible weights: {str(recorded)[:80]!r}; give yours with --weights"
        )
    if _PUBLISHED.fullmatch(recorded) and not any(map(os.path.exists, (recorded, recorded.partition(":")[2]))):
        return recorded
    raise QpertError(
        f"{out} was made with the weights {recorded}, files that are opened only if you name them, since a feature set"
        f" may come from somebody else. If they are yours, add to the command: --weights {shlex.quote(recorded)}"
    )

"""How weights are named: a name, a path, `kind:path`, or two of them joined by a plus."""

from __future__ import annotations

import os
import re
import shlex

from pipeline.errors import QpertError

_PUBLISHED = re.compile(r"(hf-hub:)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*|[A-Za-z0-9][\w.-]*:[A-Za-z0-9][\w.-]*")
"""`org/name` of the hub, or `model:tag`."""
_NAMES = ("miniature", "annotated", "none")


def split_weights(weights: str) -> tuple[str, str | None]:
    """`FIRST+SECOND` in two, at the plus that is followed by a file, else at the last; a path may hold some itself."""
    if "+" not in weights or os.path.exists(os.path.expanduser(weights)):
        return weights, None
    parts = weights.split("+")
    ways = [("+".join(parts[:at]), "+".join(parts[at:])) for at in range(1, len(parts))]
    return next((way for way in ways if os.path.exists(os.path.expanduser(way[1]))), ways[-1])


def absolute_weights(weights: str | None) -> str | None:
    """Local weights by absolute paths: workers, and searches later on, run in other folders."""
    if weights is None or weights in _NAMES:
        return weights
    first, second = split_weights(weights)
    if second is not None:
        return f"{absolute_weights(first)}+{absolute_weights(second)}"
    name, colon, path = weights.rpartition(":")
    local = os.path.abspath(os.path.expanduser(path))
    return f"{name}{colon}{local}" if os.path.exists(local) else weights


def chosen_weights(given: str | None, recorded: object, out: str) -> str | None:
    """The weights to load for a feature set: those of the command, else what the manifest names, where that is safe.

    A feature set may come from anybody. What its manifest names is opened only if it is bundled (None, "miniature"), or
    published under a name (a hub id, or a tag of open_clip). Files and folders are opened only for a command that names
    them.

    Args:
        given: `--weights` of the command.
        recorded: `weights` in the manifest, as yet unchecked.
        out: the feature set, for the message.

    Raises:
        QpertError: the manifest names a file or folder, or something that is no name of weights at all.
    """
    if given is not None:
        return given
    if recorded is None or recorded == "miniature":
        return None
    if not isinstance(recorded, str) or not recorded.isprintable() or len(recorded) > 4096:
        raise QpertError(
            f"the manifest of {out} names weights that cannot be: {str(recorded)[:80]!r}; give yours with --weights"
        )
    if _PUBLISHED.fullmatch(recorded) and not any(map(os.path.exists, (recorded, recorded.partition(":")[2]))):
        return recorded
    raise QpertError(
        f"{out} was made with the weights {recorded}, files that are opened only if you name them, since a feature set"
        f" may come from somebody else. If they are yours, add to the command: --weights {shlex.quote(recorded)}"
    )

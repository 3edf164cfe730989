"""How weights are named: a name, a path, `kind:path`, or two of them joined by a plus."""

from __future__ import annotations

import os

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

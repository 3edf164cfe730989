"""Glob patterns over relative paths: braces expanded, wildcards as regular expressions."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from pipeline.errors import QpertError

_WILDCARD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?[^/][^/\]]*\]")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MOST = 100_000
"""Patterns that one with braces may stand for."""


def is_pattern(path: str) -> bool:
    """Whether `path` has wildcards or braces."""
    return re.search(r"[*?[{]", path) is not None


def compile_pattern(pattern: str) -> Callable[[str], object]:
    """What matches a whole relative path, or not.

    ``*`` and ``?`` stand for characters of a name, ``**`` for any folders, ``[0-9]`` and ``[!a-z]`` for one character,
    ``{a,b}`` for either and ``{000..127}`` for a number.

    Raises:
        QpertError: the pattern makes no sense.
    """
    try:
        return re.compile("|".join(map(_regex, _expand(pattern))), re.DOTALL).fullmatch
    except re.error as error:
        raise QpertError(f"the pattern {pattern} makes no sense: {error}") from error


def matches_any(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns matches `path`, or a folder that it lies in.

    A pattern without a slash is compared with every name on the path (``*.jpg``, ``thumbs``), one with a slash with the
    path from its beginning (``2023/*/raw``).
    """
    names = path.strip("/").split("/")
    folders: list[str] = []
    for pattern in patterns:
        matches = _compiled(pattern.strip("/"))
        if "/" not in pattern.strip("/"):
            candidates = names
        else:
            folders = folders or ["/".join(names[: depth + 1]) for depth in range(len(names))]
            candidates = folders
        if any(matches(candidate) for candidate in candidates):
            return True
    return False


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Callable[[str], object]:
    return compile_pattern(pattern)


def _expand(pattern: str) -> Iterator[str]:
    """The patterns that one with braces stands for, as a shell has it."""
    waiting, count = deque([pattern]), 0
    while waiting:
        text = waiting.popleft()
        found = _BRACES.search(text)
        if found is None:
            yield text
            continue
        options = _options(found, pattern)
        count += len(options)
        if count > _MOST:
            raise QpertError(f"the pattern {pattern} stands for more than {_MOST:,} names; use * instead")
        waiting.extendleft(text[: found.start()] + option + text[found.end() :] for option in reversed(options))


def _options(braces: re.Match[str], pattern: str) -> list[str]:
    first, last, choices = braces.groups()
    if choices is not None:
        return str(choices).split(",")
    if max(len(first), len(last)) > 18 or abs(int(first) - int(last)) >= _MOST:
        raise QpertError(f"the pattern {pattern} stands for more than {_MOST:,} names; use * instead")
    low, high = sorted((int(first), int(last)))
    padded = any(len(number) > 1 and number.startswith("0") for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}}" for number in range(low, high + 1)]


def _regex(pattern: str) -> str:
    texts, tokens = _TOKEN.split(pattern), _TOKEN.findall(pattern)
    return re.escape(texts[0]) + "".join(
        _wild(token) + re.escape(text) for token, text in zip(tokens, texts[1:], strict=True)
    )


def _wild(token: str) -> str:
    if token in _WILDCARD:
        return _WILDCARD[token]
    negated = token[1] in "!^" and len(token) > 3
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
    return f"(?!/)[{'^' if negated else ''}{members}]"

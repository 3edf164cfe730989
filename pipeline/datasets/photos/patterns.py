"""Glob patterns over relative paths: braces are expanded, wildcards become regular expressions.

wcmatch and braceexpand read some of these patterns differently: a backslash is an escape, `a**b` stays within a name,
`{a..c}` is a range of letters, an incomplete `[!]` is a set. They also take half a minute for 100,000 alternatives.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from pipeline.errors import QpertError

_WILDCARD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?[^/][^/\]]*\]")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MAX_EXPANDED = 100_000
"""Patterns that a pattern with braces may expand to."""


def is_pattern(path: str) -> bool:
    """Whether `path` has wildcards or braces."""
    return re.search(r"[*?[{]", path) is not None


def compile_pattern(pattern: str) -> Callable[[str], object]:
    """Compile a pattern to a function that is truthy if it matches a whole relative path.

    ``*`` and ``?`` match characters within a name, ``**`` any folders, ``[0-9]`` and ``[!a-z]`` one character,
    ``{a,b}`` either alternative and ``{000..127}`` a number in that range. There is no escape character.

    Raises:
        QpertError: the pattern is not valid, or expands to too many alternatives.
    """
    try:
        return re.compile("|".join(map(_regex, _expand(pattern))), re.DOTALL).fullmatch
    except re.error as error:
        raise QpertError(f"the pattern {pattern} is not valid: {error}") from error


def matches_any(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns matches `path` or one of its folders.

    A pattern without a slash is matched with every name in the path (``*.jpg``, ``thumbs``), one with a slash with the
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
    """Expand braces as a shell does."""
    pending, count = deque([pattern]), 0
    while pending:
        text = pending.popleft()
        braces = _BRACES.search(text)
        if braces is None:
            yield text
            continue
        options = _options(braces, pattern)
        count += len(options)
        if count > _MAX_EXPANDED:
            raise _too_many(pattern)
        pending.extendleft(text[: braces.start()] + option + text[braces.end() :] for option in reversed(options))


def _options(braces: re.Match[str], pattern: str) -> list[str]:
    first, last, choices = braces.groups()
    if choices is not None:
        return str(choices).split(",")
    if max(len(first), len(last)) > 18 or abs(int(first) - int(last)) >= _MAX_EXPANDED:
        raise _too_many(pattern)
    low, high = sorted((int(first), int(last)))
    padded = any(len(number) > 1 and number.startswith("0") for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}}" for number in range(low, high + 1)]


def _too_many(pattern: str) -> QpertError:
    return QpertError(f"the pattern {pattern} stands for more than {_MAX_EXPANDED:,} names; use * instead")


def _regex(pattern: str) -> str:
    texts, tokens = _TOKEN.split(pattern), _TOKEN.findall(pattern)
    return re.escape(texts[0]) + "".join(
        _wildcard(token) + re.escape(text) for token, text in zip(tokens, texts[1:], strict=True)
    )


def _wildcard(token: str) -> str:
    if token in _WILDCARD:
        return _WILDCARD[token]
    negated = token[1] in "!^" and len(token) > 3
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
    return f"(?!/)[{'^' if negated else ''}{members}]"

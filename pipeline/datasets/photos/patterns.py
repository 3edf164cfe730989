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
_MAX_SEARCHED = 1000
"""The same of a pattern that may come from a stranger, with a query."""


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


def matching_expression(pattern: str) -> str:
    """A regular expression for RE2, which matches the paths that `matches_any` does for one pattern.

    RE2 searches a column of a million paths at once. The paths must have no slash at their beginning or end.

    Raises:
        QpertError: the pattern is not valid, or expands to more than 1,000 alternatives or 100,000 characters.
    """
    pattern = pattern.strip("/")
    names = "/" not in pattern
    body = "|".join(_regex(alternative, names) for alternative in _expand(pattern, _MAX_SEARCHED))
    if len(body) > 100 * _MAX_SEARCHED:
        raise QpertError(f"the pattern {pattern} stands for too many long names; use * instead")
    try:
        re.compile(body)
    except re.error as error:
        raise QpertError(f"the pattern {pattern} is not valid: {error}") from error
    return f"(?s)^{'(?:.*/)?' if names else ''}(?:{body})(?:/.*)?$"


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Callable[[str], object]:
    return compile_pattern(pattern)


def _expand(pattern: str, most: int = _MAX_EXPANDED) -> Iterator[str]:
    """Expand braces as a shell does, to `most` alternatives."""
    pending, count = deque([pattern]), 0
    while pending:
        text = pending.popleft()
        braces = _BRACES.search(text)
        if braces is None:
            yield text
            continue
        options = _options(braces, pattern, most)
        count += len(options)
        if count > most:
            raise _too_many(pattern, most)
        pending.extendleft(text[: braces.start()] + option + text[braces.end() :] for option in reversed(options))


def _options(braces: re.Match[str], pattern: str, most: int) -> list[str]:
    first, last, choices = braces.groups()
    if choices is not None:
        return str(choices).split(",")
    if max(len(first), len(last)) > 18 or abs(int(first) - int(last)) >= most:
        raise _too_many(pattern, most)
    low, high = sorted((int(first), int(last)))
    padded = any(len(number) > 1 and number.startswith("0") for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}}" for number in range(low, high + 1)]


def _too_many(pattern: str, most: int) -> QpertError:
    return QpertError(f"the pattern {pattern} stands for more than {most:,} names; use * instead")


def _regex(pattern: str, within_names: bool = False) -> str:
    """One alternative as a regular expression.

    Args:
        pattern: without braces.
        within_names: `**` matches no slash either.
    """
    texts, tokens = _TOKEN.split(pattern), _TOKEN.findall(pattern)
    return re.escape(texts[0]) + "".join(
        _wildcard("*" if within_names and wildcard == "**" else wildcard) + re.escape(text)
        for wildcard, text in zip(tokens, texts[1:], strict=True)
    )


def _wildcard(token: str) -> str:
    if token in _WILDCARD:
        return _WILDCARD[token]
    negated = token[1] in "!^" and len(token) > 3
    ranges = list(_ranges(token[2 if negated else 1 : -1]))
    return f"[{'^/' if negated else ''}{''.join(ranges)}]"


def _ranges(members: str) -> Iterator[str]:
    """The members of a set without the slash, each escaped."""
    place = 0
    while place < len(members):
        first = last = members[place]
        place += 1
        if members[place : place + 1] == "-" and place + 1 < len(members):
            last = members[place + 1]
            place += 2
        parts = [(first, "."), ("0", last)] if first < "/" < last else [(first, last)]
        yield from (f"{_member(low)}-{_member(high)}" for low, high in parts)


def _member(letter: str) -> str:
    return letter if letter.isalnum() or ord(letter) > 127 else f"\\x{ord(letter):02x}"

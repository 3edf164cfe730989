"""Names in a feature set of several parts: each part is a feature set of its own, in a folder of the whole one."""

from __future__ import annotations

from collections.abc import Sequence

PARTS = "parts"
"""The folder of the parts in a feature set."""


def part_name(number: int, count: int) -> str:
    """The folder of a part in `PARTS`: ``03-of-20``."""
    return f"{number:0{len(str(count))}}-of-{count}"


def place(name: str) -> str:
    """Where a features file is in the set; in a set of several parts its name begins with the part's."""
    part, _, file = name.rpartition("/")
    return f"{PARTS}/{part}/features/{file}" if part else f"features/{file}"


def in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers of parts as "part 3", or "parts 1, 2 and 4 to 9"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    texts: list[str] = []
    for span in spans:
        texts += [f"{span[0]} to {span[-1]}"] if len(span) > 2 else map(str, span)
    listed = " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
    return f"part{'' if len(numbers) == 1 else 's'} {listed}"

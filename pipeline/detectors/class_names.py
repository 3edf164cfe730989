"""Names of classes that a user writes: those of a model's own classes, and those that an open vocabulary looks for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pipeline.errors import QpertError
from pipeline.printing import is_printable

LONGEST = 100
"""Characters of a class name of an open vocabulary."""


def class_numbers(wanted: Sequence[str], names: Mapping[int, str]) -> list[int]:
    """The numbers of a model's own classes by their names; all of those that share a name.

    Raises:
        QpertError: an unknown name, with those near it.
    """
    known = list(dict.fromkeys(names.values()))
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=4, cutoff=0.4) or known[:8]
            raise QpertError(f"the detector has no class {name!r}; near: {', '.join(near)} (of {len(names)})")
    return [number for name in wanted for number, other in names.items() if other == name]


def open_classes(classes: Sequence[str] | None, model: str) -> list[str]:
    """What an open vocabulary is told to look for: trimmed, without repetitions, in alphabetical order.

    The order may change the last bits of a score, so it is not that of the command.

    Args:
        classes: as the user wrote them.
        model: the detector, for messages.

    Raises:
        QpertError: there are none, or one is empty, too long or not printable.
    """
    if not classes:
        raise QpertError(
            f'detector {model!r} finds what it is told to look for: name it with --classes "dog" "red kite", or take'
            " the nouns of your queries with --classes-from-queries FILE"
        )
    for name in classes:
        if not name.strip() or len(name) > LONGEST or not all(is_printable(letter, "utf-8") for letter in name):
            raise QpertError(f"class {name[:LONGEST]!r} is empty, not printable, or longer than {LONGEST} characters")
    return sorted({name.strip() for name in classes})

"""Photos' names that find each other: by their letters, or by the same letters in another Unicode normal form.

macOS takes names apart (``e`` and an accent: NFD), nearly everything else writes them in one piece (NFC), and both look
the same. Names that stand in both forms are two names, and each finds only itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path


class Names:
    """A set of names to look others up in.

    Args:
        names: they are not copied, only looked at; those with other letters than ASCII's are noted once more.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._composed: dict[str, str | None] = {}
        for name in names:
            if not name.isascii():
                form = unicodedata.normalize("NFC", name)
                self._composed[form] = None if form in self._composed else name

    def find(self, name: str) -> str | None:
        """`name` itself, or the one name in the set that is the same in another normal form, if there is one."""
        if name in self._names:
            return name
        return None if name.isascii() else self._composed.get(unicodedata.normalize("NFC", name))


def alike_file(path: Path) -> Path:
    """`path`, or the file beside it whose name is the same in another normal form, where only that is there."""
    if path.name.isascii() or path.exists():
        return path
    forms = (path.with_name(unicodedata.normalize(form, path.name)) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def join_names(ids: Iterable[str], wanted: Collection[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Ids -> names in `wanted`: the same, or else the file name at the end of the id; in another normal form at last.

    Returns:
        The names by id, and for each further id that fits a name as well: that name, the id that has it, and this one.
    """
    known, all_ids = Names(wanted), list(ids)
    same = {each for each in all_ids if each in wanted}
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    doubts: list[tuple[str, str, str]] = []

    def give(name: str, image_id: str) -> None:
        if name in owners:
            doubts.append((name, owners[name], image_id))
        else:
            names[image_id], owners[name] = name, image_id

    for image_id in all_ids:
        name = image_id if image_id in same else image_id.rpartition("/")[2]
        if name in wanted and (name == image_id or name not in same):
            give(name, image_id)
    exact = set(owners)
    for image_id in all_ids:
        if not image_id.isascii() and image_id not in names:
            found = known.find(image_id) or known.find(image_id.rpartition("/")[2])
            if found is not None and found not in exact:
                give(found, image_id)
    return names, doubts

"""Matching the names of photos, also when they are written in different Unicode normal forms.

macOS decomposes names (``e`` and an accent: NFD) and nearly everything else composes them (NFC); both look the same. If
a set has a name in both forms, these are two names, and each matches only itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path


class Names:
    """A set of names that can be searched in any Unicode normal form.

    Args:
        names: kept by reference; only those that are not ASCII are copied.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._composed: dict[str, str | None] = {}
        for name in names:
            if not name.isascii():
                form = unicodedata.normalize("NFC", name)
                self._composed[form] = None if form in self._composed else name

    def find(self, name: str) -> str | None:
        """`name` itself if the set has it, else the only name that equals it in another normal form, else None."""
        if name in self._names:
            return name
        return None if name.isascii() else self._composed.get(unicodedata.normalize("NFC", name))


def file_in_any_form(path: Path) -> Path:
    """`path`, or if it does not exist, the file beside it whose name is the same in another normal form."""
    if path.name.isascii() or path.exists():
        return path
    forms = (path.with_name(unicodedata.normalize(form, path.name)) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def join_names(ids: Iterable[str], wanted: Collection[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Match ids to names in `wanted`: by the whole id, else by its file name, and last by another normal form.

    Returns:
        The names by id, and the ambiguities: for each further id that also matches a name, that name, the id that got
        it, and the further id.
    """
    known, all_ids = Names(wanted), list(ids)
    identical = {image_id for image_id in all_ids if image_id in wanted}
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    ambiguities: list[tuple[str, str, str]] = []

    def assign(name: str, image_id: str) -> None:
        if name in owners:
            ambiguities.append((name, owners[name], image_id))
        else:
            names[image_id], owners[name] = name, image_id

    for image_id in all_ids:
        name = image_id if image_id in identical else image_id.rpartition("/")[2]
        if name in wanted and (name == image_id or name not in identical):
            assign(name, image_id)
    exact = set(owners)
    for image_id in all_ids:
        if not image_id.isascii() and image_id not in names:
            match = known.find(image_id) or known.find(image_id.rpartition("/")[2])
            if match is not None and match not in exact:
                assign(match, image_id)
    return names, ambiguities

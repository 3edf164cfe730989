r"""Matching the names of photos, also when they are written in different ways.

The same photo may be called `val2014/COCO_val2014_000000000139.jpg` (COCO 2014), `000000000139.jpg` (COCO 2017),
`val\a.jpg` (Windows), `a%20b.jpg` (part of a URL) or `A.JPG`; and macOS decomposes names (``e`` and an accent: NFD)
where nearly everything else composes them (NFC), though both look the same. `plain_name` is what such names have in
common. If a set has a name in two of these ways, these are two names, and each matches only itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

_COCO_2014 = re.compile(r"COCO_(?:train|val|test)201[45]_(?=[0-9]{12}(?:\.|$))")
"""What COCO 2014 and 2015 put before the number by which COCO 2017 calls the same photo."""
_AMBIGUOUS = -1


def plain_name(name: str) -> str:
    """A file name (without folders) as COCO 2017 writes it, composed, without escapes, its suffix in lower case."""
    if name.islower() and name.isascii() and "%" not in name and "\\" not in name:
        return name  # nearly all names
    if "\\" in name:
        name = name.rpartition("\\")[2] or name
    if "%" in name:
        name = unquote(name).rpartition("/")[2] or name
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if name.startswith("COCO_"):
        name = _COCO_2014.sub("", name)
    stem, dot, suffix = name.rpartition(".")
    return name if not dot or suffix.islower() or not stem else f"{stem}.{suffix.lower()}"


def path_ends(image_id: str, folders: int) -> Iterator[str]:
    """`image_id` itself, then its last parts: with up to `folders` folders, with fewer, and last the file name."""
    yield image_id
    parts = image_id.rsplit("/", folders + 1)
    for first in range(1, len(parts)):
        yield "/".join(parts[first:])


class Names:
    """A set of names that can be searched in any way of writing them.

    Args:
        names: kept by reference; only those that are not plain are copied.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._plain: dict[str, str | None] = {}
        for name in names:
            plain = _plain_path(name)
            if plain != name:
                self._plain[plain] = None if plain in self._plain or plain in names else name

    def find(self, name: str) -> str | None:
        """`name` itself if the set has it, else the only name that is the same photo's, else None."""
        if name in self._names:
            return name
        plain = _plain_path(name)
        if plain in self._plain:
            return self._plain[plain]
        return plain if plain in self._names else None


class PhotoIndex:
    """Finds photos by their ids, with or without folders and suffix.

    Args:
        ids: of the photos, each once.
        key: what the ids of one photo have in common; photos with the same one are told apart by their exact names.
    """

    def __init__(self, ids: Sequence[str], key: Callable[[str], str]) -> None:
        self._key = key
        self._whole = {image_id: number for number, image_id in enumerate(ids)}
        self._by_key: dict[str, int] = {}
        for number, name in enumerate(map(key, ids)):
            self._by_key[name] = _AMBIGUOUS if name in self._by_key else number
        self._exact: dict[str, int] = {}
        if len(self._by_key) == len(ids):
            return
        for number, image_id in enumerate(ids):
            if self._by_key[key(image_id)] == _AMBIGUOUS:
                name = _file_name(image_id)
                for part in {name, _stem(name)}:
                    self._exact[part] = _AMBIGUOUS if part in self._exact else number

    def find(self, image_id: str) -> int | None:
        """The number of a photo; None if there is none, or if several could be meant."""
        number = self._whole.get(image_id)
        if number is None:
            number = self._by_key.get(self._key(image_id))
        if number == _AMBIGUOUS:
            name = _file_name(image_id)
            number = self._exact.get(name, self._exact.get(_stem(name), _AMBIGUOUS))
        return None if number == _AMBIGUOUS else number


def plain_stem(image_id: str) -> str:
    """The plain file name of a photo without its suffix."""
    return _stem(plain_name(_file_name(image_id)))


def file_in_any_form(path: Path) -> Path:
    """`path`, or if it does not exist, the file beside it whose name is the same in another normal form."""
    if path.name.isascii() or path.exists():
        return path
    forms = (path.with_name(unicodedata.normalize(form, path.name)) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def join_names(ids: Iterable[str], wanted: Collection[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Match ids to names in `wanted`: by the whole id, else by its last parts, and last in another way of writing.

    Returns:
        The names by id, and the ambiguities: for each further id that also matches a name, that name, the id that got
        it, and the further id.
    """
    known, all_ids = Names(wanted), list(ids)
    folders = max((name.count("/") for name in wanted), default=0)
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
        if image_id in identical:
            name: str | None = image_id
        else:
            name = next((end for end in path_ends(image_id, folders) if end in wanted), None)
        if name is not None and (name == image_id or name not in identical):
            assign(name, image_id)
    exact = set(owners)
    for image_id in all_ids:
        if image_id not in names and len(exact) < len(wanted):
            match = next(filter(None, map(known.find, path_ends(image_id, folders))), None)
            if match is not None and match not in exact:
                assign(match, image_id)
    return names, ambiguities


def _file_name(image_id: str) -> str:
    return image_id.rstrip("/").rpartition("/")[2]


def _stem(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix else name


def _plain_path(path: str) -> str:
    """The same path with a plain file name; folders are compared by their normal form alone."""
    if "/" not in path:
        return plain_name(path)
    folder, _, name = path.rpartition("/")
    plain = plain_name(name)
    return f"{folder if folder.isascii() else unicodedata.normalize('NFC', folder)}/{plain}"

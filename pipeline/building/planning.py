"""Which shards a set needs: those that stay, and the groups of features files that new ones are made of.

A plan depends on nothing but the files, the shards that the last index named, and the size aimed at. So a build that
was killed and is run again plans the same, and goes on with the shards that it finds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.building.set_files import SetFile

SHARD_BYTES = 2**30
"""Stored vectors in a shard, in bytes: a task builds one in a few minutes and a few GB of memory."""
LISTED_SHARD_BYTES = 4 * SHARD_BYTES
"""The same with inverted lists: a query pays for each list of each shard, so that many small shards answer late."""
FAN = 4
"""Small shards of about one size that are merged into one, so that a set that grows file by file is rewritten a
logarithmic number of times, and never has more than a few small shards."""
_LEVELS = 6
"""Sizes that are told apart: below a 4 ** 6th of a full shard, all are alike."""


@dataclass(frozen=True)
class Plan:
    """What is to do.

    Attributes:
        kept: keys of the shards that stay.
        groups: the files of each new shard, in the order of the set.
        dropped: keys of shards that no longer count: their files are gone, or they are merged with others.
    """

    kept: tuple[str, ...]
    groups: tuple[tuple[SetFile, ...], ...]
    dropped: tuple[str, ...]

    @property
    def photos(self) -> int:
        """Photos in new shards."""
        return sum(file.photos for group in self.groups for file in group)


@dataclass(frozen=True)
class _Piece:
    """A shard that exists (`key`), or is to be made."""

    files: tuple[SetFile, ...]
    key: str | None = None

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def plan_shards(files: Sequence[SetFile], shards: Mapping[str, Sequence[str]], shard_bytes: int = SHARD_BYTES) -> Plan:
    """Plans the shards of a set.

    Args:
        files: those that count, oldest first.
        shards: key -> names of the files of each shard that fits the settings and may stay.
        shard_bytes: the size aimed at; a file that is larger has a shard of its own.
    """
    by_name = {file.name: file for file in files}
    place = {file.name: number for number, file in enumerate(files)}
    pieces: list[_Piece] = []
    covered: set[str] = set()
    for key, names in shards.items():
        if names and all(name in by_name and name not in covered for name in names):
            pieces.append(_Piece(tuple(by_name[name] for name in names), key))
            covered.update(names)
    loose = [file for file in files if file.name not in covered]
    pieces += [_Piece(group) for group in _packed(loose, shard_bytes)]
    pieces = _merged(pieces, shard_bytes, place)
    kept = tuple(piece.key for piece in pieces if piece.key is not None)
    groups = sorted((piece.files for piece in pieces if piece.key is None), key=lambda group: place[group[0].name])
    return Plan(kept, tuple(groups), tuple(key for key in shards if key not in set(kept)))


def _merged(pieces: list[_Piece], shard_bytes: int, place: Mapping[str, int]) -> list[_Piece]:
    """Merges small pieces of about one size wherever there are `FAN` of them."""
    while True:
        levels: dict[int, list[_Piece]] = defaultdict(list)
        for piece in pieces:
            if 2 * piece.bytes < shard_bytes:
                levels[_level(piece.bytes, shard_bytes)].append(piece)
        crowded = [level for level, alike in levels.items() if len(alike) >= FAN]
        if not crowded:
            return pieces
        alike = levels[max(crowded)]
        together = sorted((file for piece in alike for file in piece.files), key=lambda file: place[file.name])
        merged = {id(piece) for piece in alike}
        pieces = [piece for piece in pieces if id(piece) not in merged]
        pieces += [_Piece(group) for group in _packed(together, shard_bytes)]


def _level(size: int, shard_bytes: int) -> int:
    """0 for a piece of a FANth to half of a full shard, 1 for one of a FANth of that, and so on."""
    return min(_LEVELS, int(math.log(shard_bytes / (2 * max(1, size)), FAN)))


def _packed(files: Iterable[SetFile], shard_bytes: int) -> list[tuple[SetFile, ...]]:
    """Consecutive files, packed into groups of at most `shard_bytes`."""
    groups: list[tuple[SetFile, ...]] = []
    group: list[SetFile] = []
    held = 0
    for file in files:
        if group and held + file.bytes > shard_bytes:
            groups.append(tuple(group))
            group, held = [], 0
        group.append(file)
        held += file.bytes
    return [*groups, tuple(group)] if group else groups

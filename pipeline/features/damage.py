"""Features files that are lost or damaged: how a listing shows them, and how messages name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.checkpoint import stem
from pipeline.features.ledger import Ledger
from pipeline.features.part_names import place

_NAMED = 5
AGAIN = "Run the same qpert index again to make them anew; qpert verify looks at all the others as well."


@dataclass(frozen=True)
class Damage:
    """A features file that counts but cannot be used.

    Attributes:
        name: of the file.
        rows: photos in it; None if unknown.
        reason: what is wrong with it.
    """

    name: str
    rows: int | None
    reason: str

    def __str__(self) -> str:
        photos = "" if self.rows is None else f", {self.rows:,} photos"
        return f"{place(self.name)} ({self.reason}{photos})"


class DamagedFileError(QpertError):
    """A features file that cannot be read."""

    def __init__(self, damage: Damage, root: str) -> None:
        super().__init__(
            f"{root}/{damage} is damaged; run qpert verify {root}, and then the same qpert index again, which makes its"
            " photos anew"
        )
        self.damage = damage


def lost_files(root: str, damages: Sequence[Damage], count: int) -> str:
    """The message about files that are lost or damaged, out of `count` files."""
    rows = [damage.rows for damage in damages]
    photos = "" if None in rows else f", with {sum(row or 0 for row in rows):,} photos"
    some = "".join(f"\n       {damage}" for damage in damages[:_NAMED])
    more = f"\n       and {len(damages) - _NAMED:,} more" if len(damages) > _NAMED else ""
    return f"{root}: {len(damages):,} of its {count:,} files are lost or damaged{photos}:{some}{more}"


def rows_too_many(expected: int | None, counted: int | None) -> str | None:
    """The message if more rows count than the last run counted, so that removed rows are back; else None."""
    if expected is None or counted is None or expected <= counted:
        return None
    return (
        f"{expected:,} rows count where manifest.json says {counted:,}, so something in removed/ is lost: photos that"
        " are gone or have changed are found again"
    )


def modified(info: fs.FileInfo) -> int | None:
    """When a file was last modified, in microseconds since 1970; None if the storage does not tell."""
    return None if info.mtime_ns is None else int(info.mtime_ns) // 1000


def judge(
    ledger: Ledger | None, present: Mapping[str, fs.FileInfo], committed: Collection[str], *, everything: bool
) -> tuple[list[str], list[Damage]]:
    """Names of the files that count and are intact, and the lost or damaged ones.

    Args:
        ledger: of the set, if it has one.
        present: name -> file info of the files that exist.
        committed: stems that the checkpoint commits.
        everything: all files count if there is no ledger.
    """
    files = {} if ledger is None else ledger.files
    retired = frozenset() if ledger is None else ledger.retired
    names, damages = [], []
    for name, note in files.items():
        size = present[name].size if name in present else None
        if size is None:
            damages.append(Damage(name, note.rows, "gone"))
        elif size != note.bytes:
            damages.append(Damage(name, note.rows, f"{size:,} bytes of {note.bytes:,}"))
        elif ledger and name in ledger.damaged:
            damages.append(Damage(name, note.rows, "found damaged"))
        else:
            names.append(name)
    everything = everything and ledger is None
    noted = set(map(stem, files))  # files of one stem enter the ledger together, so a further one was never committed
    for name in sorted(set(present) - set(files) - retired):
        if everything or (stem(name) in committed and stem(name) not in noted):
            if present[name].size:
                names.append(name)
            else:
                damages.append(Damage(name, None, "empty"))
    known = {stem(name) for name in (*present, *files, *retired)}
    damages += [Damage(f"{name}-0.parquet", None, "gone") for name in sorted(set(committed) - known)]
    return names, damages

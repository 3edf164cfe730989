"""Which features files count, and which of them are lost or damaged, by what listing tells."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.ledger import Ledger
from pipeline.io.locations import join

_NAMED = 5
AGAIN = "Run the same qpert index again to make them anew; qpert verify looks at all the others as well."


@dataclass(frozen=True)
class Damage:
    """A features file that counts and cannot be used.

    Attributes:
        name: of the file.
        rows: photos in it; None where that is not known.
        reason: what is wrong with it.
    """

    name: str
    rows: int | None
    reason: str

    def __str__(self) -> str:
        photos = "" if self.rows is None else f", {self.rows:,} photos"
        return f"features/{self.name} ({self.reason}{photos})"


class DamagedFileError(QpertError):
    """A features file that cannot be read."""

    def __init__(self, damage: Damage, out: str) -> None:
        super().__init__(
            f"{out}/{damage} is damaged; run qpert verify {out}, and then the same qpert index again, which makes its"
            " photos anew"
        )
        self.damage = damage


def lost_files(out: str, damages: Sequence[Damage], count: int) -> str:
    """What to say of files that are lost or damaged, of `count` in all."""
    rows = [damage.rows for damage in damages]
    photos = "" if None in rows else f", with {sum(row or 0 for row in rows):,} photos"
    some = "".join(f"\n       {damage}" for damage in damages[:_NAMED])
    more = f"\n       and {len(damages) - _NAMED:,} more" if len(damages) > _NAMED else ""
    return f"{out}: {len(damages):,} of its {count:,} files are lost or damaged{photos}:{some}{more}"


def rows_too_many(expected: int | None, counted: int | None) -> str | None:
    """What to say where more rows count than the last run has counted: rows were taken out of use, and that is lost."""
    if expected is None or counted is None or expected <= counted:
        return None
    return (
        f"{expected:,} rows count where manifest.json says {counted:,}, so something in removed/ is lost: photos that"
        " are gone or have changed are found again"
    )


def checkpoint_path(out: str, fingerprint: str) -> str:
    """Where Ray notes what it has committed."""
    return join(out, "checkpoint", fingerprint)


def stem(name: str) -> str:
    """What a features file is called in the checkpoint that commits it, without suffix."""
    return name.rpartition("-")[0]


def modified(info: fs.FileInfo) -> int | None:
    """When a file was changed last, in microseconds since 1970; None where the storage does not tell."""
    return None if info.mtime_ns is None else int(info.mtime_ns) // 1000


def name_of(info: fs.FileInfo) -> str:
    """Its name in the folder."""
    return posixpath.basename(str(info.path))


def stem_of(info: fs.FileInfo) -> str:
    """Its name without the suffix of Parquet files."""
    return name_of(info).removesuffix(".parquet")


def judge(
    ledger: Ledger | None, present: Mapping[str, fs.FileInfo], committed: Collection[str], *, everything: bool
) -> tuple[list[str], list[Damage]]:
    """The files that count, and those of them that are lost or damaged."""
    files = {} if ledger is None else ledger.files
    retired = frozenset() if ledger is None else ledger.retired
    names, damages = [], []
    for name, note in files.items():
        size = present[name].size if name in present else None
        if size == note.bytes and not (ledger and name in ledger.damaged):
            names.append(name)
        else:
            wrong = (
                "gone"
                if size is None
                else "found damaged"
                if size == note.bytes
                else f"{size:,} bytes of {note.bytes:,}"
            )
            damages.append(Damage(name, note.rows, wrong))
    everything = everything and ledger is None
    noted = set(map(stem, files))  # the files of a name are noted at once, so a further one was never committed
    for name in sorted(set(present) - set(files) - retired):
        if everything or (stem(name) in committed and stem(name) not in noted):
            if present[name].size:
                names.append(name)
            else:
                damages.append(Damage(name, None, "empty"))
    known = {stem(name) for name in (*present, *files, *retired)}
    damages += [
        Damage(f"{each}-0.parquet", None, "gone") for each in sorted(set(committed) - known) if not _pending(each)
    ]
    return names, damages


def _pending(name: str) -> bool:
    return name.endswith(".pending")

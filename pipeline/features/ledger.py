"""The ledger of a feature set, ``committed.json``: which files count, and their state when they were committed.

It is one small file, replaced in one step even in object stores, so that files are replaced by others (see
`pipeline.features.compacting`) or taken out of use all at once, whatever happens in between.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pyarrow import fs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError
from pipeline.io.locations import Folder

LEDGER = "committed.json"
_FORMAT = 1
_TAIL = 65536
"""Bytes at the end of a file that are read first: most footers are shorter."""
_MAX_FOOTER = 2**28


class DamagedLedgerError(QpertError):
    """The ledger cannot be read."""


def _plain_name(name: str) -> str:
    # Files of these names get deleted, so the names must not lead out of the folder.
    if name != posixpath.basename(name) or not name.endswith(".parquet") or "\\" in name or name.startswith("."):
        raise ValueError(f"not the name of a features file: {name!r}")
    return name


_Name = Annotated[str, AfterValidator(_plain_name)]


class FileNote(BaseModel):
    """The state of a features file when it was committed.

    Attributes:
        rows: photos in it, failed ones included.
        failed: how many of these failed.
        objects: objects in all its photos.
        bytes: its size.
        mtime: its modification time when it was last known to be intact, in microseconds since 1970; None if the
            storage does not tell.
        digest: of its footer, which holds sizes, offsets and statistics of all pages; each page has its own checksum.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: int = Field(ge=0)
    failed: int = Field(ge=0)
    objects: int = Field(ge=0)
    bytes: int = Field(ge=0)
    mtime: int | None = None
    digest: str


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: int
    files: dict[_Name, FileNote]
    damaged: list[_Name] = []
    retired: list[_Name] = []


@dataclass(frozen=True)
class Ledger:
    """Which features files count.

    Attributes:
        files: name -> state, oldest first.
        damaged: files among these that turned out damaged; their photos are to be indexed again.
        retired: files that no longer count, even if they still exist.
    """

    files: Mapping[str, FileNote] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()

    @classmethod
    def find(cls, folder: Folder) -> Ledger | None:
        """The ledger of a feature set; None if it has none, as in sets of earlier versions.

        Raises:
            DamagedLedgerError: it is damaged.
            QpertError: it was written by a newer version.
        """
        data, path = folder.read(LEDGER), folder.at(LEDGER)
        if data is None:
            return None
        try:
            stored = _Stored.model_validate_json(data)
        except ValidationError as error:
            raise DamagedLedgerError(
                f"{path} is damaged ({error.errors()[0]['msg']}); run the same qpert index again, which reads all files"
                " and rewrites it"
            ) from error
        if stored.format > _FORMAT:
            raise QpertError(f"{path} has format {stored.format}; this version reads up to {_FORMAT}: upgrade")
        return cls(stored.files, frozenset(stored.damaged), frozenset(stored.retired))

    def write(self, folder: Folder) -> None:
        """Replace the ledger of a feature set in one step."""
        lines = (f"  {json.dumps(name)}: {note.model_dump_json()}" for name, note in self.files.items())
        text = (
            f'{{"format": {_FORMAT},\n "damaged": {json.dumps(sorted(self.damaged))},\n'
            f' "retired": {json.dumps(sorted(self.retired))},\n "files": {{\n' + ",\n".join(lines) + "\n }}\n"
        )
        folder.write_atomically(LEDGER, text.encode())

    def replacing(self, old: Collection[str], new: Mapping[str, FileNote]) -> Ledger:
        """This ledger with the `old` files retired, and the `new` ones added or updated."""
        retired = frozenset(old)
        files = {name: note for name, note in (dict(self.files) | dict(new)).items() if name not in retired}
        return Ledger(files, (self.damaged - retired) - frozenset(new), self.retired | retired)


def footer_digest(file: fs.FileInfo, filesystem: fs.FileSystem) -> str:
    """BLAKE2b of the footer of a Parquet file, 32 hexadecimal digits.

    Raises:
        ValueError: the end of the file is not that of a Parquet file.
    """
    with filesystem.open_input_file(file.path) as stream:
        size = int(stream.size())
        stream.seek(max(0, size - _TAIL))
        tail = bytes(stream.read(min(size, _TAIL)))
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or not 12 < length <= min(size - 4, _MAX_FOOTER):
            raise ValueError("it does not end like a Parquet file")
        if length > len(tail):
            stream.seek(size - length)
            tail = bytes(stream.read(length))
    return hashlib.blake2b(tail[-length:], digest_size=16).hexdigest()

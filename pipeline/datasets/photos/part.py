"""One part of a source: which photos belong to it. Photos that are added later do not move others to another part."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import QpertError

PartBy = Literal["photo", "folder"]


@dataclass(frozen=True)
class Part:
    """One of several parts of a source.

    Attributes:
        number: of the part, from 1.
        count: of the parts.
        by: divide photos by their own names, or by the first folder of their path, so that only the folders of the part
            need to be listed. Tars and Parquet files with photos in them are always in one part as a whole.
    """

    number: int
    count: int
    by: PartBy = "photo"

    @classmethod
    def parse(cls, text: str, by: PartBy = "photo") -> Part:
        """From ``3/20``; a QpertError if it is anything else."""
        match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count or not 2 <= count <= 10_000:
            raise QpertError(
                f"--part {text}: write the number of the part and of all parts, such as 3/20 (at most 10,000)"
            )
        return cls(number, count, by)

    def has(self, name: str) -> bool:
        """Whether a photo, folder, tar or table of this name, relative to the source, belongs to it."""
        unit = name.partition("/")[0] if self.by == "folder" else name
        digest = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

"""What a build has done, in words."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.printing import duration, printable, size_text


@dataclass(frozen=True)
class BuildReport:
    """What a build has done.

    Attributes:
        root: the feature set.
        kind: of the index; `Lance table`, and what it is indexed by.
        photos: in the index.
        vectors: in the index.
        bytes: that it takes on disk.
        shards: how many it has.
        made: how many of them this build made.
        trained: whether a quantiser was trained.
        seconds: that it took.
        place: folder or URI of the index.
        notes: what the user should know, a line each.
    """

    root: str
    kind: str
    photos: int
    vectors: int
    bytes: int
    shards: int
    made: int
    trained: bool
    seconds: float
    place: str
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """One or two lines for the terminal."""
        noun = self.kind if self.kind.startswith("Lance") else f"{self.kind} index"
        what = f"{noun} of {self.photos:,} photos ({self.vectors:,} vectors) in {self.place}"
        size = f"{counted(self.shards, 'shard')}, {size_text(self.bytes)}"
        if not self.made and not self.trained:
            return printable(f"nothing to do: the {what} fits: {size}")
        trained = "trained and " if self.trained else ""
        return printable(f"{what}: {size}; {trained}{counted(self.made, 'shard')} made in {duration(self.seconds)}")


def counted(number: int, noun: str) -> str:
    """``1 shard``, ``2 shards``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

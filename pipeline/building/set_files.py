"""The features files of a set as what an index is built of: their sizes, photos and digests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.features.ledger import Ledger
from pipeline.features.live_rows import LiveRows
from pipeline.features.marks import Marks
from pipeline.vectors.index_manifest import file_identity


@dataclass(frozen=True)
class SetFile:
    """A features file that counts.

    Attributes:
        name: of the file.
        photos: rows with an embedding, removed ones included.
        bytes: its share of the stored vectors that go into the index, about.
        identity: tells whether it is still the same file (`pipeline.vectors.index_manifest.file_identity`).
    """

    name: str
    photos: int
    bytes: int
    identity: str


def set_files(features: FeatureSet) -> tuple[SetFile, ...]:
    """The files of a set, oldest first. Reads only files that the ledger does not describe.

    Raises:
        QpertError: a file is lost or damaged, or the features are not in files.
    """
    files = features_files(features)
    variants = max(1, len(features.manifest.variants))

    def describe(name: str) -> SetFile:
        note = files.note(name) or files.examine(name, whole=False)
        return SetFile(name, note.rows - note.failed, note.bytes // variants, file_identity(files, name))

    return tuple(files.map(describe, files.names))


def features_files(features: FeatureSet) -> FeatureFiles:
    """The files behind an opened set; a QpertError if its rows are in memory only."""
    if not isinstance(features.dataset, LiveRows):
        raise QpertError(f"{features.root} is not stored as features files, so it cannot have an index")
    return features.dataset.files


@dataclass(frozen=True)
class SetPart:
    """Some files of a set, small enough to be sent to a task, however large the set is.

    Attributes:
        features: the set with these files only, whose sizes and times are not known yet: what says them cannot be sent.
    """

    features: FeatureSet

    @classmethod
    def of(cls, features: FeatureSet, names: Sequence[str], *, removed: bool = True) -> SetPart:
        """Take some files of a set.

        Args:
            features: an opened set.
            names: of the files, in the order in which they are to be read.
            removed: with the rows that no longer count: they may count again later, and searches mask them.
        """
        files = features_files(features)
        ledger = files.ledger and Ledger({name: note for name in names if (note := files.note(name)) is not None})
        marks = Marks() if removed else _marks_of(files, names)
        few = replace(files, ledger=ledger, present={}, names=tuple(names), damages=(), removed=marks)
        return cls(replace(features, dataset=LiveRows(few, features.dataset.schema)))

    @property
    def names(self) -> tuple[str, ...]:
        """The files."""
        return features_files(self.features).names

    def open(self) -> FeatureSet:
        """The set with these files only; one that is gone meanwhile is an error when it is read."""
        files = features_files(self.features)
        infos = files.folder.filesystem.get_file_info([files.path(name) for name in files.names])
        present = dict(zip(files.names, infos, strict=True))
        return replace(self.features, dataset=LiveRows(replace(files, present=present), self.features.dataset.schema))


def _marks_of(files: FeatureFiles, names: Collection[str]) -> Marks:
    return Marks({name: rows for name, rows in files.removed.by_file.items() if name in names})

"""A feature set on disk, opened once and handed on: the only thing that knows how it is laid out.

    manifest.json            how the features were made (manifest.py)
    features/*.parquet       one row per photo (schema.py, files.py)
    committed.json           which of these files count (ledger.py)
    removed/, seen/          marks on single rows (marks.py)
    checkpoint/FINGERPRINT/  what Ray has committed, so that an interrupted run can resume (checkpoint.py)
    listing/photos.parquet   the photos of the source, from which a run starts
    tokens/                  image tokens, if they are kept (tokens.py)
    rerank/KEY/              scores of re-ranking, a feature set of its own, whose run starts from pairs.parquet
    parts/03-of-20/          one part of a set that is made in parts, a feature set of its own (parts.py)

The Parquet files hold plain Arrow types only, so that DuckDB, pandas and Polars read them without this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.features import compacting, mending, removing, verifying
from pipeline.features.checkpoint import CHECKPOINT, make_checkpoint
from pipeline.features.damage import Damage
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FEATURES, FeatureFiles
from pipeline.features.manifest import Manifest
from pipeline.features.marks import add_marks
from pipeline.features.part_names import PARTS, part_name
from pipeline.features.parts import files_of, part_folders
from pipeline.features.tokens import TokenFiles
from pipeline.io.locations import Folder
from pipeline.io.retrying_files import retry_on, retrying
from pipeline.io.storage_waits import Listener

Progress = Callable[[int], object]


def _quiet(count: int) -> None:
    pass


class FeatureStore:
    """A feature set, which need not exist yet.

    Methods that write rely on the caller to hold `lock`, except `compact` and `verify`, which take it themselves.

    Args:
        root: path or URI of the set, or its folder.
    """

    LISTING = "listing/photos.parquet"
    PAIRS = "pairs.parquet"
    FEATURES = FEATURES
    """Where Ray reads and writes within `ray_filesystem`."""

    def __init__(self, root: str | Folder) -> None:
        self.folder = Folder.open(root)

    @property
    def root(self) -> str:
        """The path or URI as the user wrote it, for messages."""
        return self.folder.root

    def __repr__(self) -> str:
        return f"FeatureStore({self.root!r})"

    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs from writing to the set, see `Folder.exclusive`."""
        return self.folder.exclusive()

    def find_manifest(self) -> Manifest | None:
        """The manifest; None if there is none. A damaged one raises a QpertError."""
        return Manifest.find(self.folder)

    def manifest(self) -> Manifest:
        """The manifest; a QpertError if there is none."""
        return Manifest.read(self.folder)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step."""
        manifest.write(self.folder)

    def open(self, variant: str | None = None) -> FeatureSet:
        """The features, see `FeatureSet.open`."""
        return FeatureSet.open(self.folder, variant)

    def files(self, fingerprint: str, *, complete: bool = False) -> FeatureFiles:
        """A snapshot of the features files, see `FeatureFiles.snapshot`."""
        return FeatureFiles.snapshot(self.folder, fingerprint, complete=complete)

    def files_of(self, manifest: Manifest) -> FeatureFiles:
        """A snapshot of the files of the set that has this manifest."""
        return files_of(self.folder, manifest)

    def part(self, number: int, count: int) -> FeatureStore:
        """One of `count` parts of the set, a feature set of its own."""
        return FeatureStore(self.folder.subfolder(PARTS, part_name(number, count)))

    def counts(self, manifest: Manifest) -> dict[str, int]:
        """``photos``, ``failed`` and ``objects`` that count; a QpertError if files are lost or damaged."""
        files = self.files_of(manifest)
        files.check_complete()
        return files.counts()

    def file_sizes(self) -> list[int]:
        """The bytes of each features file."""
        manifest = self.find_manifest()
        folders = [self.folder] if manifest is None else part_folders(self.folder, manifest).values()
        return [info.size or 0 for folder in folders for info in folder.subfolder(FEATURES).files(".parquet")]

    def mend(self, fingerprint: str, counted: Progress = _quiet, *, adopt: bool = True) -> tuple[Damage, ...]:
        """Repair what earlier runs left, see `mending.mend`; returns the files that were lost or damaged."""
        return mending.mend(self.folder, fingerprint, counted, adopt=adopt)

    def note_committed(self, fingerprint: str) -> FeatureFiles:
        """Enter committed files into the ledger, see `mending.note_committed`."""
        return mending.note_committed(self.folder, fingerprint)

    def take_back(self, fingerprint: str) -> None:
        """Delete what an interrupted run wrote without committing it."""
        mending.take_back(self.folder, fingerprint)

    def drop_repeated(self, fingerprint: str) -> int:
        """Keep only the latest row of each photo, see `removing.drop_repeated`; returns how many were removed."""
        return removing.drop_repeated(self.files(fingerprint))

    def remove_rows(self, fingerprint: str, rows: pa.Table) -> None:
        """Take rows (`marks.REMOVED`) out of use."""
        removing.remove_rows(self.folder, fingerprint, rows)

    def restore_rows(self, fingerprint: str, rows: pa.Table) -> None:
        """Let removed rows (`file`, `image_id`) count again."""
        removing.restore_rows(self.folder, fingerprint, rows)

    def note_seen(self, rows: pa.Table) -> None:
        """Record the current modification times of unchanged photos (`marks.SEEN`)."""
        add_marks(self.folder, "seen", rows)

    def forget_failures(self, fingerprint: str) -> int:
        """Let the rows of failed photos no longer count, so that these are tried again; returns how many."""
        return removing.forget_failures(self.files(fingerprint, complete=True))

    def compact(self, *, merge: bool = True, counted: Progress = _quiet) -> compacting.Compacted:
        """Rewrite files without the rows that no longer count, see `compacting.compact`; part by part."""
        before = after = dropped = 0
        for folder in part_folders(self.folder, self.manifest()).values():
            done = compacting.compact(folder, merge=merge, counted=lambda files, so_far=before: counted(so_far + files))  # type: ignore[misc]
            before, after, dropped = before + done.before, after + done.after, dropped + done.dropped
        return compacting.Compacted(before, after, dropped)

    def verify(self, counted: Progress = _quiet) -> verifying.Verified:
        """Read everything and report what is wrong, see `verifying.verify`."""
        return verifying.verify(self.folder, counted)

    def write_listing(self, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        """Write the photos from which a run starts to `LISTING`; `batches` is called again if storage fails."""
        self._write_table(self.LISTING, schema, batches)

    def write_pairs(self, pairs: pa.Table) -> None:
        """Write the photos and texts from which a run of matching starts to `PAIRS`."""
        self._write_table(self.PAIRS, pairs.schema, pairs.to_batches)

    def checkpoint(self, fingerprint: str) -> str:
        """The folder of Ray's checkpoint within `ray_filesystem`, which is created: Ray does not filter without it."""
        make_checkpoint(self.folder, fingerprint)
        return f"{CHECKPOINT}/{fingerprint}"

    def ray_filesystem(self, listener: Listener | None = None) -> fs.FileSystem:
        """A file system whose root is this set, for Ray Data, which then sees only names that we chose.

        Ray parses paths and URIs in ways of its own: it loses options and escapes of URIs, cuts a path at ``?`` before
        it looks at the suffix, and takes ``a=b`` for a column. Failed operations are retried, on a local path as well,
        which may be mounted from another machine; `listener` is told in the processes that use the file system.
        """
        return fs.SubTreeFileSystem(self.folder.path, retrying(self.folder.filesystem, listener))

    @property
    def tokens(self) -> TokenFiles:
        """The image tokens beside the features."""
        return TokenFiles(self.folder.subfolder("tokens"))

    def scores(self, key: str) -> FeatureStore:
        """The scores of re-ranking these features in one way, which `key` identifies."""
        return FeatureStore(self.folder.subfolder("rerank", key))

    def _write_table(self, name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        filesystem, path = self.folder.filesystem, self.folder.at(name)

        def write() -> None:
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with pq.ParquetWriter(f"{path}.tmp", schema, filesystem=filesystem) as writer:
                for batch in batches():
                    writer.write_batch(batch)
            filesystem.move(f"{path}.tmp", path)

        retry_on(filesystem, write)

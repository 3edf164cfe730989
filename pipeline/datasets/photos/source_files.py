"""Sorting the files of a source into photos, tars and Parquet files; all others are counted by reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pipeline.datasets.photos.folder_walk import FoundFile
from pipeline.datasets.photos.formats import HEAD, FileKind, file_kind, is_image, not_a_photo
from pipeline.datasets.photos.parquet import find_columns
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.datasets.photos.rules import NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.locations import is_inside, join, local_path, locate

_METADATA = "Parquet files without photos"
_SHOWN = 3
"""Names of files that a message shows."""


class SourceFiles:
    """The files of a source, sorted by kind.

    Args:
        source: the source as the user names it, for messages.
        root: folder of the files.
        files: walks through them; called anew by every iteration.
        skipped: counts the files that are left out.
        rules: their `include` applies. If it lets no file through, all tars are taken, and it selects among the photos
            in them.
        only: "table" or "tar" if the user has set an option that applies to these alone; None for any kind.
    """

    def __init__(
        self,
        source: str,
        root: str,
        files: Callable[[], Iterable[FoundFile]],
        skipped: Skipped,
        rules: SourceRules,
        only: FileKind | None = None,
    ) -> None:
        self.source, self.root, self.rules, self.skipped = source, root, rules, skipped
        self._files, self._only = files, only
        self.tars: list[FoundFile] = []
        self.tables: list[FoundFile] = []

    def photos(self) -> Iterator[FoundFile]:
        """Yield the photos; `tars` and `tables` are complete at the end.

        Raises:
            QpertError: at the end, if the source also has tars or Parquet with photos, so that the choice is unclear.
        """
        self.skipped.clear()
        self.tars, self.tables = [], []
        excluded_tars: list[FoundFile] = []  # not let through by `include`
        count, first = 0, ""
        for file in self._files():
            kind = file_kind(file.name)
            if not self.rules.includes(file.name):
                if kind == "tar":
                    excluded_tars.append(file)
                else:
                    self.skipped.add(NOT_CHOSEN, file.name)
            elif kind in ("tar", "table") and not self._within_root(file):
                self.skipped.add("tars and Parquet files outside of --root", file.name)
            elif kind == "tar":
                self.tars.append(file)
            elif kind == "table":
                self.tables.append(file)
            elif kind == "photo" or (kind == "unknown" and self._begins_like_a_photo(file)):
                if self._only is not None:
                    self.skipped.add(f"photos beside what --{self._option()} chooses", file.name)
                    continue
                count, first = count + 1, first or file.name
                yield file
            else:
                self.skipped.add(not_a_photo(file.name, kind), file.name)
        if not count and not self.tars and not self.tables:
            self.tars, excluded_tars = excluded_tars, []
        for file in excluded_tars:
            self.skipped.add(NOT_CHOSEN, file.name)
        self._keep_one_kind(count, first)

    def _option(self) -> str:
        return "image-key" if self._only == "tar" else "bytes-column, --uri-column or --id-column"

    def _keep_one_kind(self, photos: int, first: str) -> None:
        """Drop the tars or tables that only accompany another kind; raise if several kinds hold photos."""
        if self._only == "table" and self.tables:
            self._skip(self.tars, "tars beside the Parquet files")
            self.tars = []
            return
        if not photos and not self.tars:
            return
        stems = {_stem(file.name) for file in self.tars}
        # img2dataset writes a table of the same name beside each tar, and people keep captions beside photos.
        beside = [file for file in self.tables if _stem(file.name) not in stems]
        if self._only == "tar" or not any(_holds_photos(join(self.root, file.name)) for file in beside):
            beside = []
        if beside or (photos and self.tars):
            raise QpertError(self._several_kinds(photos, first, beside))
        self._skip(self.tables, _METADATA)
        self.tables = []

    def _several_kinds(self, photos: int, first: str, tables: list[FoundFile]) -> str:
        kinds = [f"{photos:,} photos ({first}{', ...' if photos > 1 else ''})"] if photos else []
        for files, what in ((self.tars, "tars"), (tables, "Parquet files with photos")):
            if files:
                names = ", ".join(file.name for file in files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
                kinds.append(f"{len(files):,} {what} ({names})")
        patterns = [f"'*.{files[0].name.rpartition('.')[2]}'" for files in (self.tars, tables) if files]
        ways = [f"--include {pattern}" for pattern in patterns]
        ways += [f"--exclude {' '.join(patterns)}"] if photos else []
        return f"{self.source} holds {' and '.join(kinds)}; one run reads one kind. Choose: {' or '.join(ways)}"

    def _skip(self, files: Iterable[FoundFile], reason: str) -> None:
        for file in files:
            self.skipped.add(reason, file.name)

    def _within_root(self, file: FoundFile) -> bool:
        """Whether a tar or Parquet file lies inside `--root`; a single photo is checked when it is opened."""
        place = join(self.root, file.name)
        return self.rules.root is None or local_path(place) is None or is_inside(place, self.rules.root)

    def _begins_like_a_photo(self, file: FoundFile) -> bool:
        try:
            return is_image(_head(join(self.root, file.name)))
        except Exception:  # cannot be read now, and its name is not that of a photo
            return False


def _head(place: str) -> bytes:
    path = local_path(place)
    if path is not None:
        with open(path, "rb") as file:
            return file.read(HEAD)
    filesystem, inner = locate(place)
    with filesystem.open_input_file(inner) as remote:
        return bytes(remote.read(HEAD))


def _holds_photos(table: str) -> bool:
    try:
        return find_columns([table], Columns()).data is not None
    except QpertError:
        return False


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]

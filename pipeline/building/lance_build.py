"""``--engine lance``: writing a Lance table of a set, or bringing one up to date, and its index."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.building import lance_table
from pipeline.building.build_report import BuildReport, counted
from pipeline.building.estimating import seconds_of
from pipeline.building.locking import index_lock
from pipeline.building.planning import plan_shards
from pipeline.building.progress import Progress
from pipeline.building.set_files import SetFile, SetPart, features_files, set_files
from pipeline.building.spec import BuildSpec
from pipeline.building.steps import count_vectors
from pipeline.building.work import Work, here
from pipeline.errors import QpertError, first_line
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import is_uri, join, without_options
from pipeline.printing import size_text
from pipeline.vectors.settings import Kind, chosen_settings, sample_size

if TYPE_CHECKING:
    from lance import LanceDataset

KINDS = {"auto": "IVF_PQ", "ivf-pq": "IVF_PQ", "ivf-sq8": "IVF_SQ", "ivf-rabitq": "IVF_RQ", "exact": ""}
"""What Lance calls the kinds of `BuildSpec`."""
_FEWEST = 4096
"""Rows below which a table needs no index, and a codebook cannot be trained."""
_SAMPLE = 256
"""Rows for each list that Lance trains on, at most."""
_CODES = 256
"""Values of a byte of a code, each of which wants as many rows as a list."""
_FINGERPRINT = b"qpert.fingerprint"


@dataclass(frozen=True)
class LanceBuild:
    """The Lance table of one set that is to be made or brought up to date.

    Attributes:
        features: the set.
        spec: the options.
    """

    features: FeatureSet
    spec: BuildSpec

    @classmethod
    def of(cls, features: FeatureSet, spec: BuildSpec) -> LanceBuild:
        """Check the options.

        Raises:
            QpertError: Lance is not installed, or options that it does not have.
        """
        if importlib.util.find_spec("lance") is None:
            raise QpertError("--engine lance needs the packages of Lance: pip install 'qpert[lance]'")
        os.environ.setdefault("LANCE_LOG", "error")  # before it is imported: it warns of tables that are new
        if spec.sample is not None or not spec.keep_vectors:
            raise QpertError("--sample and --no-keep-vectors are not options of --engine lance")
        if spec.code_bytes is not None and features.dim % spec.code_bytes:
            raise QpertError(
                f"--code-bytes {spec.code_bytes} does not divide {features.dim}, the length of the vectors"
            )
        if features.folder.root.startswith("fsspec+") and spec.out is None:
            raise QpertError(f"Lance cannot write to {features.root}; name another place with --out")
        return cls(features, spec)

    @property
    def place(self) -> str:
        """Path or URI of the table."""
        if self.spec.out is not None:
            return self.spec.out
        root = without_options(self.features.root) if is_uri(self.features.root) else self.features.folder.path
        return join(root, "search", "lance", f"{_plain(self.spec.variant or 'all')}.lance")

    def describe(self) -> str:
        """What would be done, in one line."""
        files = set_files(self.features)
        table = None if self.spec.rebuild else self._table()
        there = {} if table is None else lance_table.photos_by_file(table)
        todo = [file for file in files if file.name not in there]
        photos, size = sum(file.photos for file in todo), sum(file.bytes for file in todo)
        kind = KINDS[self.spec.kind] or "no index"
        return (
            f"{self.features.root}: would write {photos:,} photos of {counted(len(todo), 'features file')} to"
            f" {self.place}, about {size_text(size)}, {kind}"
        )

    def seconds(self, cores: int) -> float:
        """Estimated time on so many cores, of a table that is written from the start."""
        files = set_files(self.features)
        kind: Kind = "exact" if self.spec.kind == "exact" else "ivf-pq" if self.spec.kind == "auto" else self.spec.kind
        vectors = count_vectors(self.features, files)
        settings = chosen_settings(kind, vectors, self.features.dim, lists=self.spec.lists)
        return seconds_of(settings, vectors, self.features.dim, sample_size(settings), cores)

    def run(self, work: Work = here) -> BuildReport:
        """Writes what is missing, deletes what no longer counts, and brings the index up to date.

        Raises:
            QpertError: another build is at work, files are damaged, or the table is of other features.
        """
        # A table elsewhere may be of a set that cannot be written to; Lance itself refuses changes that conflict.
        with index_lock(self.features) if self.spec.out is None else nullcontext():
            return self._run(work)

    def _run(self, work: Work) -> BuildReport:
        begun = time.monotonic()
        files = set_files(self.features)
        table = None if self.spec.rebuild else self._table()
        there = self._without_removed(table, files)
        todo = [file for file in files if file.name not in there]
        written = self._write(todo, work)
        if written:
            schema = lance_table.table_schema(self.features).with_metadata(
                {_FINGERPRINT: self.features.manifest.fingerprint.encode()}
            )
            table = lance_table.commit(self.place, table, schema, [part for parts in written for part in parts])
        if table is None:
            raise QpertError(f"{self.features.root} holds no photo with an embedding")
        trained, note = self._index(table, distributed=work is not here)
        made = ", ".join(str(index.index_type) for index in table.describe_indices())
        counts = lance_table.photos_by_file(table)
        return BuildReport(
            root=self.features.root,
            kind=" with ".join(["Lance table", *([made] if made else [])]),
            photos=sum(counts.values()),
            vectors=table.count_rows(),
            bytes=_size(table),
            shards=len(table.get_fragments()),
            made=len(written),
            trained=trained,
            seconds=time.monotonic() - begun,
            place=self.place,
            notes=note,
        )

    def _table(self) -> LanceDataset | None:
        table = lance_table.open_table(self.place)
        if table is None:
            return None
        made_of = (table.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
        if made_of != self.features.manifest.fingerprint:
            raise QpertError(
                f"{self.place} is not a table of {self.features.root} as it is now; --rebuild writes it anew, or choose"
                " another --out"
            )
        return table

    def _without_removed(self, table: LanceDataset | None, files: Sequence[SetFile]) -> set[str]:
        """Deletes the rows that no longer count; returns the names of the files that the table has."""
        if table is None:
            return set()
        marked = features_files(self.features).removed.by_file
        expected = {file.name: self._live(file.name) if file.name in marked else file.photos for file in files}
        left = lance_table.delete_rows(table, self.features, expected)
        # Of a file whose photos have all failed, or are gone, there is nothing to write.
        return set(left) | {name for name, count in expected.items() if not count}

    def _live(self, name: str) -> int:
        few = SetPart.of(self.features, [name], removed=False).open()
        return sum(block.num_rows for block in few.iter_blocks(["image_id"]))

    def _write(self, files: Sequence[SetFile], work: Work) -> list[list[Any]]:
        groups = plan_shards(files, {}, self.spec.shard_bytes()).groups
        parts = [SetPart.of(self.features, [file.name for file in group], removed=False) for group in groups]
        progress = Progress(len(groups), sum(file.photos for file in files))
        written: list[list[Any]] = [[] for _ in groups]
        try:
            memory = 4 * 2**30
            for number, fragments in work(
                lance_table.write_files, [(self.place, part) for part in parts], memory=memory, waiting=progress.show
            ):
                written[number] = fragments
                progress.add(sum(file.photos for file in groups[number]))
        finally:
            progress.close()
        return written

    def _index(self, table: LanceDataset, *, distributed: bool) -> tuple[bool, tuple[str, ...]]:
        """Makes the index, or adds new rows to it; returns whether it was made, and what the user should know."""
        kind, rows = KINDS[self.spec.kind], table.count_rows()
        if not kind:
            return False, ()
        if rows < _FEWEST:
            return False, (f"{self.place} has {rows:,} rows, too few for an index: LanceDB compares all of them",)
        made = {index.name: index for index in table.describe_indices()}
        if lance_table.INDEX in made and not self.spec.rebuild:
            table.optimize.optimize_indices()
            return False, ()
        lists = self.spec.lists or min(round(rows**0.5), rows // _SAMPLE)
        if 2 * lists > rows:
            raise QpertError(f"{rows:,} vectors are too few for --lists {lists}")
        common: dict[str, Any] = {
            "name": lance_table.INDEX,
            "replace": True,
            "metric": lance_table.METRIC,
            "num_partitions": lists,
            "sample_rate": max(2, min(_SAMPLE, rows // max(lists, _CODES))),
        }
        if kind == "IVF_PQ":
            common["num_sub_vectors"] = self.spec.code_bytes or _sub_vectors(self.features.dim)
        if kind == "IVF_RQ":
            common["num_bits"] = 1  # the defaults of Lance and of lance-ray contradict each other
        try:
            if distributed:
                import lance_ray
                import ray

                workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
                lance_ray.create_index(self.place, lance_table.VECTOR, kind, num_workers=workers, **common)
            else:
                table.create_index(lance_table.VECTOR, kind, **common)
        except (RuntimeError, ValueError, OSError) as error:
            raise QpertError(f"{self.place} is written, but Lance made no index: {first_line(error)[:300]}") from error
        table.checkout_latest()
        return True, ()


def _sub_vectors(dim: int) -> int:
    """Bytes of a code: an eighth of the numbers, or the next smaller divisor of their count."""
    return next(count for count in range(max(1, dim // 8), 0, -1) if dim % count == 0)


def _size(table: LanceDataset) -> int:
    """Bytes of the rows and of the index."""
    data = sum(file.file_size_bytes or 0 for fragment in table.get_fragments() for file in fragment.data_files())
    return int(data + sum(index.total_size_bytes or 0 for index in table.describe_indices()))


def _plain(variant: str) -> str:
    """The name of a variant as that of a file."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in variant)

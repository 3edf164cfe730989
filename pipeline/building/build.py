"""Building the index of a feature set, or bringing one up to date.

Every step may be interrupted: the quantiser and each shard are complete when they are there, and named by what they are
made of, so that the next build finds them. The manifest is replaced in one step at the end, and only then are shards
deleted that no longer count. Until then searches use the old index.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator

from pipeline.building.build_report import BuildReport, counted
from pipeline.building.cleaning import delete_unused
from pipeline.building.estimating import bytes_of, memory_of_shard, memory_of_training, seconds_of
from pipeline.building.locking import index_lock
from pipeline.building.progress import Progress
from pipeline.building.set_files import SetFile, SetPart, features_files
from pipeline.building.shards import TRAINING_CPUS, make_shard, train_quantiser
from pipeline.building.spec import BuildSpec
from pipeline.building.steps import Place, Steps, count_vectors, find_steps, key_of, known_quantiser, photos_in
from pipeline.building.work import Work, here
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import is_uri
from pipeline.printing import duration, size_text
from pipeline.vectors.index_manifest import IndexEntry, ShardNote

_TRIES = 3
_OUTGROWN = 4
"""Growth of a set since its quantiser was trained after which it should be trained anew."""
_REMOVED = 0.2
"""Share of removed photos in an index that is worth a word."""


class Build:
    """The index of one set that is to be built or brought up to date.

    Args:
        features: the set, opened with the variant of `spec`.
        spec: the options.
    """

    def __init__(self, features: FeatureSet, spec: BuildSpec) -> None:
        self.features, self.spec = features, spec
        self.place = Place(features, spec.variant)

    def steps(self) -> Steps:
        """What is to do, from what is on disk now."""
        return find_steps(self.features, self.spec, self.place)

    def seconds(self, cores: int) -> float:
        """Estimated time on so many cores."""
        return self._seconds(self.steps(), cores)

    def describe(self, cores: int) -> str:
        """What would be done, and how long it would take on so many cores, in one line."""
        steps, dim = self.steps(), self.features.dim
        size = size_text(bytes_of(steps.settings, photos_in(steps.files), steps.vectors, dim))
        index = f"{steps.settings.kind} index of {photos_in(steps.files):,} photos ({steps.vectors:,} vectors)"
        if steps.idle:
            return f"{self.features.root}: nothing to do: its {index} fits, about {size}"
        trained = f"train on about {steps.sample:,} vectors, " if steps.sampled else ""
        made = f"make {counted(len(steps.plan.groups), 'shard')} of {steps.plan.photos:,} photos"
        time_left = f"about {duration(self._seconds(steps, cores))} on {counted(cores, 'core')}"
        return f"{self.features.root}: would {trained}{made}; then an {index}, about {size}; {time_left}"

    def run(self, work: Work = here) -> BuildReport:
        """Builds; see the module.

        Raises:
            QpertError: another build is at work, files are lost or damaged, or there is no room.
        """
        begun = time.monotonic()
        with index_lock(self.features):
            for attempt in range(1, _TRIES + 1):
                steps = self.steps()
                try:
                    entry = self._make(steps, work)
                    break
                except (QpertError, OSError):
                    if attempt == _TRIES or not self._overtaken(steps):
                        raise
            manifest = steps.manifest.replacing(self.place.name, entry)
            if not steps.idle:
                manifest.write(self.features.folder)
            delete_unused(self.place.search, manifest, steps.manifest)
        return self._report(steps, entry, time.monotonic() - begun)

    def _make(self, steps: Steps, work: Work) -> IndexEntry:
        """Trains and makes shards, as far as they are not there; returns the entry of the new index."""
        self._check_room(steps)
        progress = Progress(len(steps.plan.groups), steps.plan.photos)
        try:
            quantiser = None if steps.quantiser is None else self._quantiser(steps, work, progress)
            digest = "" if quantiser is None else hashlib.blake2b(quantiser, digest_size=16).hexdigest()
            made = self._shards(steps, quantiser, digest, work, progress)
        finally:
            progress.close()
        kept = {} if steps.before is None else {key: steps.before.shards[key] for key in steps.plan.kept}
        before = steps.before if steps.before is not None and not steps.sampled else None
        return IndexEntry(
            variant=self.spec.variant,
            settings=steps.settings,
            quantiser=steps.quantiser,
            quantiser_digest=digest,
            trained_on=steps.vectors if before is None else before.trained_on,
            shards=kept | made,
        )

    def _quantiser(self, steps: Steps, work: Work, progress: Progress) -> bytes:
        """The quantiser that is there, or else one that is trained now and written."""
        name = steps.quantiser or ""
        before = steps.before
        if before is not None and before.quantiser == name:
            found = known_quantiser(self.place, before)
        else:  # an interrupted build may have left it
            found = self.place.folder.read(name)
        if found is not None:
            return found
        progress.training(steps.sample)
        part = SetPart.of(self.features, [file.name for file in steps.sampled])
        items = [(part, steps.sampled, steps.settings, steps.sample)]
        memory = memory_of_training(steps.settings, steps.sample, self.features.dim)
        trained: bytes = b""
        for _, trained in work(train_quantiser, items, cpus=TRAINING_CPUS, memory=memory):
            self.place.folder.write_atomically(name, trained)
        return trained

    def _shards(
        self, steps: Steps, quantiser: bytes | None, digest: str, work: Work, progress: Progress
    ) -> dict[str, ShardNote]:
        """The shards of all groups: those that an interrupted build has left, and new ones."""
        known = {} if steps.before is None else steps.before.shards
        made: dict[str, ShardNote | None] = {}
        todo: list[tuple[str, tuple[SetFile, ...]]] = []
        progress.begin()
        for group in steps.plan.groups:
            key = key_of(self.features, self.spec.variant, group, steps.settings, digest)
            made[key] = self.place.shards.find_whole(key, known.get(key), check=self.spec.rebuild)
            if made[key] is None:
                self.place.shards.delete(key)  # one that is damaged would stay where it is
                todo.append((key, group))
            else:
                progress.add(photos_in(group))
        items = [(SetPart.of(self.features, [file.name for file in group]), key) for key, group in todo]
        photos = max((photos_in(group) for _, group in todo), default=0)
        vectors = max((count_vectors(self.features, group) for _, group in todo), default=0)
        memory = memory_of_shard(steps.settings, photos, vectors, self.features.dim)
        shared = (steps.settings, quantiser, self.place.shards)
        for number, note in work(make_shard, items, shared=shared, memory=memory, waiting=progress.show):
            key, group = todo[number]
            made[key] = note
            progress.add(photos_in(group))
        return {key: note for key, note in made.items() if note is not None}

    def _check_room(self, steps: Steps) -> None:
        """Refuses a build that the disk has no room for, as far as that is known."""
        if is_uri(self.features.root) or not steps.plan.groups:
            return
        files = [file for group in steps.plan.groups for file in group]
        dim, vectors = self.features.dim, count_vectors(self.features, files)
        needed = bytes_of(steps.settings, photos_in(files), vectors, dim)
        free = shutil.disk_usage(self.place.search.path).free
        if needed > free:
            raise QpertError(
                f"the index of {self.features.root} takes about {size_text(needed)}, and {self.place.search.root} has"
                f" {size_text(free)} free; make room, or choose a smaller --kind or --no-keep-vectors"
            )

    def _overtaken(self, steps: Steps) -> bool:
        """Whether files have been replaced meanwhile, as by qpert compact; then the set is opened again."""
        self.features = FeatureSet.open(self.features.root, self.spec.variant)
        return self.steps().files != steps.files

    def _seconds(self, steps: Steps, cores: int) -> float:
        files = [file for group in steps.plan.groups for file in group]
        sample = steps.sample if steps.sampled else 0
        return seconds_of(steps.settings, count_vectors(self.features, files), self.features.dim, sample, cores)

    def _report(self, steps: Steps, entry: IndexEntry, seconds: float) -> BuildReport:
        shards = entry.shards.values()
        files = self.place.folder.files()
        quantiser = sum(info.size or 0 for info in files if info.base_name == entry.quantiser)
        return BuildReport(
            root=self.features.root,
            kind=entry.settings.kind,
            photos=sum(shard.photos for shard in shards),
            vectors=sum(shard.vectors for shard in shards),
            bytes=sum(shard.bytes for shard in shards) + quantiser,
            shards=len(shards),
            made=len(steps.plan.groups),
            trained=bool(steps.sampled),
            seconds=seconds,
            place=self.place.folder.root,
            notes=tuple(self._notes(steps, entry)),
        )

    def _notes(self, steps: Steps, entry: IndexEntry) -> Iterator[str]:
        again = f"qpert build-index {self.features.root}"
        if entry.quantiser is not None and steps.vectors >= _OUTGROWN * max(1, entry.trained_on):
            yield (
                f"the set has {steps.vectors / max(1, entry.trained_on):.1f} times the vectors that it had when the"
                f" index was trained, so its lists no longer fit: {again} --rebuild trains it anew"
            )
        files = features_files(self.features)
        removed = sum(marks.num_rows for name, marks in files.removed.by_file.items() if name in files.present)
        if removed > _REMOVED * photos_in(steps.files):
            yield (
                f"{removed:,} photos of the index have been removed since: qpert compact {self.features.root}, and then"
                f" {again}, make it smaller"
            )
        if self.features.manifest.state == "running":
            yield f"an index run had not finished {self.features.root}; run {again} again when it has"

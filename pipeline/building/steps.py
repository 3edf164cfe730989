"""What a build has to do: from what is on disk now, reading only what is small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.building.planning import Plan, plan_shards
from pipeline.building.sampling import choose_files
from pipeline.building.set_files import SetFile, set_files
from pipeline.building.shard_folder import ShardFolder
from pipeline.building.spec import BuildSpec
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import Folder
from pipeline.vectors.coverage import usable_manifest
from pipeline.vectors.index_manifest import IndexEntry, IndexManifest, index_name, shard_key
from pipeline.vectors.quantiser import quantiser_digest
from pipeline.vectors.settings import EXACT_BELOW, IndexSettings, chosen_settings, sample_size
from pipeline.vectors.versions import SEARCH

SHARDS = "shards"
"""The folder of the shards of an index."""
QUANTISER = "quantiser-"
"""Prefix of the file of a quantiser."""
_PIECES = 2
"""Pieces of a vector in a byte of its code."""
_TRAINED = {"kind", "lists", "pieces", "seed"}
"""Settings that a quantiser depends on; the others matter to shards, or only when an index is searched."""


class Place:
    """Where the index of a set is.

    Args:
        features: the set.
        variant: name of the embedding, if its photos have several.
    """

    def __init__(self, features: FeatureSet, variant: str | None) -> None:
        self.name = index_name(variant)
        self.search: Folder = features.folder.subfolder(SEARCH)
        self.folder: Folder = self.search.subfolder(self.name)
        self.shards = ShardFolder(self.folder.subfolder(SHARDS))


@dataclass(frozen=True)
class Steps:
    """What a build has to do.

    Attributes:
        files: of the set.
        vectors: in them, exactly unless photos differ in their number.
        settings: of the index.
        quantiser: name of its file; None for the kind `exact`.
        sampled: files to train it on; none if it stays.
        sample: vectors to train it on.
        plan: the shards; those of `kept` are there.
        manifest: of the indexes that are there and fit the features; empty if none do.
        before: the index that is there.
        problem: why an index that is there cannot be used, if it cannot.
    """

    files: tuple[SetFile, ...]
    vectors: int
    settings: IndexSettings
    quantiser: str | None
    sampled: tuple[SetFile, ...]
    sample: int
    plan: Plan
    manifest: IndexManifest
    before: IndexEntry | None
    problem: str | None = None

    @property
    def idle(self) -> bool:
        """Whether the index that is there is the one that is wanted."""
        there = self.before is not None and self.before.settings == self.settings
        return there and not self.sampled and not self.plan.groups and not self.plan.dropped


def find_steps(features: FeatureSet, spec: BuildSpec, place: Place) -> Steps:
    """Plans the build of an index.

    Raises:
        QpertError: files or the manifest of the indexes are damaged, or options that do not fit.
    """
    files = set_files(features)
    vectors = count_vectors(features, files)
    manifest, problem = usable_manifest(features)  # a damaged one is replaced
    before = manifest.indexes.get(place.name)
    settings = choose_settings(spec, vectors, features.dim, before, photos_in(files))
    sample = spec.sample or sample_size(settings)
    quantiser: str | None = None
    sampled: tuple[SetFile, ...] = ()
    stays = before is not None and not spec.rebuild and alike(before.settings, settings)
    if stays and before is not None and (before.quantiser is None or known_quantiser(place, before) is not None):
        quantiser = before.quantiser
        shards = _usable(features, spec.variant, files, settings, before, place)
    else:
        shards = {}
        if settings.kind != "exact":
            sampled = choose_files(files, sample / max(1.0, vectors / max(1, photos_in(files))), settings.seed)
            quantiser = _quantiser_name(features, spec.variant, sampled, settings, sample)
    plan = plan_shards(files, shards, spec.shard_bytes(listed=settings.kind != "exact"))
    return Steps(files, vectors, settings, quantiser, sampled, sample, plan, manifest, before, problem)


def known_quantiser(place: Place, entry: IndexEntry) -> bytes | None:
    """The quantiser of an index that is there; None if it is missing or damaged."""
    data = place.folder.read(entry.quantiser or "")
    return data if data is not None and quantiser_digest(data) == entry.quantiser_digest else None


def choose_settings(
    spec: BuildSpec, vectors: int, dim: int, before: IndexEntry | None, photos: int | None = None
) -> IndexSettings:
    """The settings that the options ask for; what they leave open stays as it is in the index that is there.

    With `rebuild` the lists and codes are chosen anew, by the size that the set has now.
    """
    names = ("lists", "probes", "shortlist", "rescored", "keep_vectors", "seed")
    given = {name: getattr(spec, name) for name in names if name in spec.model_fields_set}
    if spec.code_bytes is not None:
        if dim % (_PIECES * spec.code_bytes):
            raise QpertError(
                f"--code-bytes {spec.code_bytes} does not fit vectors of {dim} numbers: twice as many must divide that"
            )
        given["pieces"] = _PIECES * spec.code_bytes
    kind = spec.kind
    if before is not None:
        old = before.settings
        outgrown = old.kind == "exact" and vectors >= EXACT_BELOW
        if kind == "auto" and not outgrown:
            kind = old.kind
        if kind == old.kind:
            kept = old.model_dump(exclude={"kind"})
            if kind == "exact" or spec.rebuild or given.get("lists") not in (None, old.lists):
                kept = {"keep_vectors": old.keep_vectors, "seed": old.seed}
            given = kept | {name: value for name, value in given.items() if value is not None}
    return chosen_settings(kind, vectors, dim, photos, **given)


def alike(one: IndexSettings, other: IndexSettings) -> bool:
    """Whether two indexes can have the same quantiser."""
    return one.model_dump(include=_TRAINED) == other.model_dump(include=_TRAINED)


def count_vectors(features: FeatureSet, files: Sequence[SetFile]) -> int:
    """Vectors of some files; by their size where photos differ in their number."""
    if not features.manifest.multi:
        return photos_in(files) * features.vectors
    width = {"float16": 2, "float32": 4}[features.manifest.precision]
    return sum(file.bytes for file in files) // (width * features.dim)


def photos_in(files: Sequence[SetFile]) -> int:
    """Photos with an embedding in some files."""
    return sum(file.photos for file in files)


def key_of(
    features: FeatureSet, variant: str | None, group: Sequence[SetFile], settings: IndexSettings, digest: str
) -> str:
    """The key of a shard of these files."""
    identities = {file.name: file.identity for file in group}
    return shard_key(features.manifest.fingerprint, variant, identities, settings, digest)


def _usable(
    features: FeatureSet,
    variant: str | None,
    files: Sequence[SetFile],
    settings: IndexSettings,
    before: IndexEntry,
    place: Place,
) -> dict[str, tuple[str, ...]]:
    """Key -> files of the shards that are whole, fit the settings, and are of the files as they are now."""
    by_name = {file.name: file for file in files}
    usable: dict[str, tuple[str, ...]] = {}
    for key, note in before.shards.items():
        group = [by_name[name] for name in note.files if name in by_name]
        current = len(group) == len(note.files) and key == key_of(
            features, variant, group, settings, before.quantiser_digest
        )
        if current and place.shards.is_whole(key, note.sizes):
            usable[key] = tuple(note.files)
    return usable


def _quantiser_name(
    features: FeatureSet, variant: str | None, sampled: Sequence[SetFile], settings: IndexSettings, sample: int
) -> str:
    """A name by all that training depends on, so that a build that is run again finds what an earlier one trained."""
    choices = settings.model_dump(include=_TRAINED)
    files = [(file.name, file.identity) for file in sampled]
    text = json.dumps([features.manifest.fingerprint, variant, files, choices, sample], sort_keys=True)
    return f"{QUANTISER}{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.safetensors"

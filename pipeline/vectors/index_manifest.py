"""The manifest of the indexes of a feature set, ``search/manifest.json``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated

from pyarrow import fs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError, first_line
from pipeline.features.damage import modified
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.io.locations import Folder
from pipeline.vectors.settings import IndexSettings, Kind
from pipeline.vectors.versions import SEARCH

INDEX_MANIFEST = "manifest.json"
_FORMAT = 1
_MOST_BYTES = 1 << 28
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def _plain(name: str) -> str:
    # Files of these names are opened and deleted, so the names must not lead out of the folder.
    if not _PLAIN.fullmatch(name):
        raise ValueError(f"not a plain name: {name[:100]!r}")
    return name


_Name = Annotated[str, AfterValidator(_plain)]


class FileSpan(BaseModel):
    """The photos of a features file in a shard.

    Attributes:
        identity: of the file when the shard was made, see `file_identity`.
        photos: how many have an embedding, those included whose rows no longer counted.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    photos: int = Field(ge=0)


class ShardNote(BaseModel):
    """A shard: what it was made of, and what it holds.

    Attributes:
        kind: `exact` if it has nothing but stored vectors.
        files: name of a features file -> its photos, in the order of the rows of the shard.
        photos: rows.
        vectors: of all its photos.
        sizes: name of a file of the shard -> bytes.
        digests: name of a file of the shard -> its BLAKE2b.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Kind = "exact"
    files: dict[str, FileSpan]
    photos: int = Field(ge=0, lt=2**31)
    vectors: int = Field(ge=0, lt=2**40)
    sizes: dict[_Name, int]
    digests: dict[_Name, str] = {}

    @property
    def bytes(self) -> int:
        """The size of the shard."""
        return sum(self.sizes.values())


class IndexEntry(BaseModel):
    """The index of one embedding of the photos.

    Attributes:
        variant: name of the embedding, if the photos have several.
        settings: its parameters.
        quantiser: name of the quantiser's file, of approximate kinds.
        quantiser_digest: its BLAKE2b.
        trained_on: vectors that the set had when the quantiser was trained.
        shards: key -> shard.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    variant: str | None = None
    settings: IndexSettings = IndexSettings()
    quantiser: _Name | None = None
    quantiser_digest: str = ""
    trained_on: int = 0
    shards: dict[_Name, ShardNote] = {}


class IndexManifest(BaseModel):
    """The indexes of a feature set.

    Attributes:
        fingerprint: of the features.
        indexes: name of a folder, see `index_name` -> index.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = _FORMAT
    fingerprint: str
    indexes: dict[_Name, IndexEntry] = {}

    @classmethod
    def find(cls, folder: Folder) -> IndexManifest | None:
        """The manifest of a feature set in `folder`; None if it has no index.

        Raises:
            QpertError: it is damaged, or was written by a newer version.
        """
        search = folder.subfolder(SEARCH)
        path = search.join(INDEX_MANIFEST)
        try:
            info = folder.filesystem.get_file_info(search.at(INDEX_MANIFEST))
            if info.type == fs.FileType.Unknown:  # reading a pipe would wait forever
                raise QpertError(f"{path} is no file; delete it")
            size = info.size or 0
            if size > _MOST_BYTES:
                raise QpertError(f"{path} is damaged: {size:,} bytes; {_again(folder)}")
            data = search.read(INDEX_MANIFEST)
        except OSError as error:
            raise QpertError(f"{path} cannot be read ({first_line(error)[:200]})") from error
        if data is None:
            return None
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise QpertError(f"{path} is damaged ({error.errors()[0]['msg']}); {_again(folder)}") from error
        if manifest.format > _FORMAT:
            raise QpertError(f"{path} has format {manifest.format}; this version reads up to {_FORMAT}: upgrade")
        return manifest

    def write(self, folder: Folder) -> None:
        """Replace the manifest of the feature set in `folder` in one step."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        folder.subfolder(SEARCH).write_atomically(INDEX_MANIFEST, text.encode() + b"\n")

    def replacing(self, name: str, entry: IndexEntry) -> IndexManifest:
        """This manifest with another index of that name."""
        return self.model_copy(update={"indexes": {**self.indexes, name: entry}})


def _again(folder: Folder) -> str:
    return f"build the index again: qpert build-index {folder.root}"


def index_name(variant: str | None) -> str:
    """The folder of the index of an embedding below ``search/``: `all` for that of photos with one."""
    if variant is None:
        return "all"
    plain = re.sub(r"[^A-Za-z0-9]+", "-", variant).strip("-")[:60]
    return f"variant-{plain}-{hashlib.blake2b(variant.encode(), digest_size=4).hexdigest()}"


def variant_of(features: FeatureSet) -> str | None:
    """The name of the embedding that an opened set shows."""
    return features.manifest.variants[features.variant] if features.manifest.variants else None


def file_identity(files: FeatureFiles, name: str) -> str:
    """What tells whether a features file is the one that a shard was made of: its digest, or its size and time."""
    note = files.note(name)
    if note is not None:
        return note.digest
    info = files.present[name]
    return f"{info.size}-{modified(info)}"


def shard_key(
    fingerprint: str, variant: str | None, files: Mapping[str, str], settings: IndexSettings, quantiser_digest: str
) -> str:
    """The name of a shard, by what it is made of.

    Args:
        fingerprint: of the features.
        variant: name of the embedding.
        files: name of a features file -> `file_identity`.
        settings: of the index.
        quantiser_digest: of its quantiser; empty without.
    """
    made_of = [settings.kind, settings.keep_vectors, quantiser_digest]
    text = json.dumps([_FORMAT, fingerprint, variant, list(files.items()), made_of])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

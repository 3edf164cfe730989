"""The two kinds of tasks: training a quantiser on a sample, and making a shard. Plain data in and out."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.building.sampling import read_sample
from pipeline.building.set_files import SetFile, SetPart
from pipeline.building.shard_folder import ShardFolder
from pipeline.errors import QpertError
from pipeline.vectors.index_manifest import ShardNote
from pipeline.vectors.settings import IndexSettings
from pipeline.vectors.shard_writing import write_shard
from pipeline.vectors.training import train

TRAINING_CPUS = 16
"""CPU cores that training uses, if a node has so many."""


def train_quantiser(part: SetPart, files: Sequence[SetFile], settings: IndexSettings, sample: int) -> bytes:
    """The quantiser of an index, trained on about `sample` vectors of `files`, which are those of `part`."""
    try:
        whole = settings.kind == "photo-pq"
        rows = read_sample(part.open(), files, sample, settings.seed, whole=whole)
        return train(rows.as_unit(), settings, rows.counts)
    except QpertError as error:
        raise _plain(error) from None


def make_shard(
    settings: IndexSettings,
    quantiser: bytes | None,
    shards: ShardFolder,
    part: SetPart,
    key: str,
) -> ShardNote:
    """Make one shard of the files of `part`, and place it."""
    try:
        with shards.staging() as folder:
            note = write_shard(part.open(), part.names, folder, settings, quantiser)
            shards.place(folder, key, note)
    except QpertError as error:
        raise _plain(error) from None
    return note


def _plain(error: QpertError) -> QpertError:
    """The same message as a class that comes back from another process."""
    return QpertError(*map(str, error.args))

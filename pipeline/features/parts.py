"""A feature set of several parts, which reads like one: the files of all parts, and what is done part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pipeline.features.files import FeatureFiles
from pipeline.features.ledger import Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.marks import Marks
from pipeline.features.part_names import PARTS, part_name
from pipeline.io.locations import Folder
from pipeline.io.map_ahead import map_ahead

_READERS = 8
Value = TypeVar("Value")


def part_folders(folder: Folder, manifest: Manifest) -> dict[str, Folder]:
    """The feature sets that a set consists of, by the names of its parts: of an ordinary set itself, named ""."""
    if manifest.parts is None:
        return {"": folder}
    names = [part_name(number, manifest.parts) for number in manifest.part_numbers("complete", "running")]
    return {name: folder.subfolder(PARTS, name) for name in names}


def files_of(folder: Folder, manifest: Manifest) -> FeatureFiles:
    """The files of the set that has this manifest; in a set of several parts, their names begin with the part's.

    Raises:
        QpertError: a ledger or marks are damaged.
    """
    if manifest.parts is None:
        return FeatureFiles.snapshot(folder, manifest.fingerprint, complete=manifest.state == "complete")
    parts = part_folders(folder, manifest)
    snapshots = map_ahead(lambda part: FeatureFiles.snapshot(part, manifest.fingerprint), parts.values(), _READERS)
    files = dict(zip(parts, snapshots, strict=True))
    ledgers = {part: one.ledger or Ledger() for part, one in files.items()}
    return FeatureFiles(
        folder,
        manifest.fingerprint,
        Ledger(
            _named({part: ledger.files for part, ledger in ledgers.items()}),
            frozenset(_named({part: dict.fromkeys(ledger.damaged) for part, ledger in ledgers.items()})),
            frozenset(_named({part: dict.fromkeys(ledger.retired) for part, ledger in ledgers.items()})),
        ),
        _named({part: one.present for part, one in files.items()}),
        tuple(_named({part: dict.fromkeys(one.names) for part, one in files.items()})),
        tuple(replace(damage, name=f"{part}/{damage.name}") for part, one in files.items() for damage in one.damages),
        Marks(_named({part: one.removed.by_file for part, one in files.items()})),
    )


def _named(parts: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """What is known of the files of each part, by their names in the whole set."""
    return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

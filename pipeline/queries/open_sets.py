"""Opening the feature sets that are searched together: found by pattern, of one encoder, and each with a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import is_uri, without_options
from pipeline.queries.filtering import PhotoFilter
from pipeline.retrieval.several_sets import changed_settings, check_same_encoder, find_sets
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.snapshot import Snapshot

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class OpenSet:
    """A feature set opened for searching.

    Attributes:
        name: what it is called beside others.
        snapshot: its photos and vectors.
        filter: chooses among its photos, and keeps what it has derived from them.
    """

    name: str
    snapshot: Snapshot
    filter: PhotoFilter


def open_sets(
    roots: Sequence[str | FeatureSet],
    *,
    variant: str | None = None,
    cache: bool = True,
    names: Sequence[str] | None = None,
) -> tuple[list[OpenSet], list[str]]:
    """Open feature sets; see `Collection.open` for the arguments.

    Returns:
        The sets, and what users should know of them.

    Raises:
        QpertError: none is named, one cannot be opened, or their vectors cannot be compared.
    """
    paths = [root for root in roots if isinstance(root, str)]
    found: list[str | FeatureSet] = []
    if len(paths) == len(roots):
        found += find_sets(paths)
    else:
        for root in roots:
            found += find_sets([root]) if isinstance(root, str) else [root]
    if names is not None and len(names) != len(found):
        raise QpertError(f"there are {len(found)} feature sets and {len(names)} names: give one for each")
    if len(found) > 1:  # before anything is cached for them
        _check([root if isinstance(root, FeatureSet) else FeatureSet.open(root, variant) for root in found])
    snapshots = [open_snapshot(root, variant=variant, cache=cache) for root in found]
    features = [snapshot.features for snapshot in snapshots]
    notes = [
        note if len(features) == 1 else f"{snapshot.features.root}: {note}"
        for snapshot in snapshots
        for note in snapshot.notes
    ]
    if changed := changed_settings(features):
        shown = "; ".join(changed[:_SHOWN]) + (", ..." if len(changed) > _SHOWN else "")
        notes.append(f"the sets were not made with the same settings, so their scores may not be comparable: {shown}")
    chosen = unique_names([one.root for one in features]) if names is None else list(names)
    sets = zip(chosen, snapshots, strict=True)
    return [OpenSet(name, snapshot, PhotoFilter(snapshot.photos)) for name, snapshot in sets], notes


def _check(features: Sequence[FeatureSet]) -> None:
    check_same_encoder(features)
    if len({one.vectors for one in features}) > 1:
        counts = "; ".join(f"{one.root}: {one.vectors}" for one in features[:_SHOWN])
        raise QpertError(f"sets of other numbers of vectors per photo cannot be searched together ({counts})")


def unique_names(roots: Sequence[str]) -> list[str]:
    """A name for each of several sets: that of its folder, with as many folders above as make it different."""
    parts = [_names_in(root) for root in roots]
    longest = max(map(len, parts), default=0)
    names = ["/".join(part[-1:]) for part in parts]
    for depth in range(1, longest + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def _names_in(root: str) -> list[str]:
    """The names in a path or URI, that of a bucket included."""
    bare = without_options(root)
    plain = unquote(bare.partition("://")[2]) if is_uri(root) else os.path.abspath(root)
    return [name for name in plain.split("/") if name] or [plain]

"""Several feature sets at once: found by pattern, checked to be of one encoder, and joined to one gallery."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import unquote

from pyarrow import fs

from pipeline.datasets.photos.own_output import is_feature_set
from pipeline.datasets.photos.patterns import compile_pattern, is_pattern
from pipeline.encoders import twin_of
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.id_set import IdSet, digest_of
from pipeline.features.joined_rows import JoinedRows
from pipeline.features.manifest import differences
from pipeline.features.provenance import MadeWith
from pipeline.io.locations import answering, file_type, is_uri, join, locate, real_place, split, without_options

_SETTINGS = ("perturbation", "multi", "image_size", "encoder")
"""Parts of a set's identity that change the embeddings, whatever the photos."""
_SHOWN = 3


def open_sets(patterns: Sequence[str], variant: str | None = None) -> list[FeatureSet]:
    """Opens the sets that `find_sets` finds, in its order.

    Args:
        patterns: paths, URIs and patterns.
        variant: name of the embedding, if the photos have several (`FeatureSet.open`).

    Raises:
        QpertError: none is found, one cannot be opened, or they are of several encoders.
    """
    sets = [FeatureSet.open(root, variant) for root in find_sets(patterns)]
    check_same_encoder(sets)
    return sets


def find_sets(patterns: Sequence[str]) -> list[str]:
    """The paths or URIs of feature sets, each once: in the order of the patterns, and of the names that match them.

    Args:
        patterns: a folder is taken as it is. In others, wildcards and braces match names of folders, level by level
            (``'s3://bucket/part-*'``; see `compile_pattern`), and folders that hold no features are passed over.

    Raises:
        QpertError: a pattern that is not valid, or fits no feature set; no patterns.
    """
    if not patterns:
        raise QpertError("no feature set is named")
    roots: dict[str, str] = {}
    for pattern in patterns:
        for root in _matching(pattern):
            roots.setdefault(real_place(root), root)
    return list(roots.values())


def _matching(pattern: str) -> list[str]:
    bare = without_options(pattern)
    options = pattern[len(bare) :]
    if not is_pattern(bare) or file_type(pattern) != fs.FileType.NotFound:
        return [pattern]
    root, names = bare, list[str]()
    while is_pattern(unquote(root) if is_uri(root) else root):  # `split` encodes what stays
        root, name = split(root)
        names.insert(0, name)
    if any("**" in name for name in names):
        raise QpertError(f"{pattern}: ** would search whole trees for features; name each level by *")
    folders = [root + options]
    for name in names:
        matches = compile_pattern(name)
        found = [(folder, below) for folder in folders for below in _folders_in(folder) if matches(below)]
        folders = [join(folder, below) if folder else below for folder, below in found]
    if sets := [folder for folder in folders if is_feature_set(folder)]:
        return sets
    others = f"; none of the {len(folders):,} folders that fit it holds features" if folders else ""
    raise QpertError(f"no feature set fits the pattern {pattern}{others}")


def _folders_in(folder: str) -> list[str]:
    filesystem, path = locate(folder)
    with answering(folder):
        infos = filesystem.get_file_info(fs.FileSelector(path, recursive=False, allow_not_found=True))
    return sorted(str(info.base_name) for info in infos if info.type == fs.FileType.Directory)


def check_same_encoder(sets: Sequence[FeatureSet]) -> None:
    """Refuses sets whose vectors cannot be compared with one text vector.

    Raises:
        QpertError: their encoders, weights or sizes of vectors differ.
    """
    if len(sets) < 2:
        return
    made = [_encoder_of(features) for features in sets]
    for features, other in zip(sets[1:], made[1:], strict=True):
        if other != made[0]:
            raise QpertError(
                f"{sets[0].root} and {features.root} were made by different encoders: {_described(made[0])} and"
                f" {_described(other)}; search and evaluate them one by one, or index one of them again"
            )


def _encoder_of(features: FeatureSet) -> tuple[str, str, int]:
    """What must be equal: the encoder, its weights (by digest, or by name where they are published), and D."""
    made = MadeWith.of(features.manifest, features.root)
    weights = features.manifest.encoder.get("weights")
    name = weights.get("name") if isinstance(weights, dict) else None
    try:
        encoder = twin_of(made.encoder)
    except QpertError:  # one that a program brought along
        encoder = made.encoder
    return encoder, made.digest or str(name or ""), features.dim


def _described(encoder: tuple[str, str, int]) -> str:
    name, weights, dim = encoder
    return f"{name} ({f'weights {weights[:60]}, ' if weights else ''}vectors of {dim} numbers)"


def join_sets(sets: Sequence[FeatureSet]) -> FeatureSet:
    """Several sets as one, which holds their rows one set after the other; a single set is returned as it is.

    Warns where they were made with other settings, since their scores may not be comparable.

    Args:
        sets: of one encoder (`check_same_encoder`), opened with the same variant.

    Raises:
        QpertError: a photo is in two of them, or they differ in their variants or in what their vectors are of.
    """
    if len(sets) == 1:
        return sets[0]
    first = sets[0]
    for other in sets[1:]:
        for what, mine, its in (
            ("vectors per photo", first.vectors, other.vectors),
            ("variants", first.manifest.variants, other.manifest.variants),
            ("views per photo", first.manifest.multi, other.manifest.multi),
        ):
            if mine != its:
                raise QpertError(
                    f"{first.root} and {other.root} cannot be one gallery: they differ in {what} ({mine} and {its})"
                )
    _check_distinct(sets)
    if changed := changed_settings(sets):
        shown = "; ".join(changed[:_SHOWN]) + (", ..." if len(changed) > _SHOWN else "")
        warnings.warn(
            f"the sets were not made with the same settings, so their scores may not be comparable: {shown}",
            stacklevel=2,
        )
    folder = replace(first.folder, root=f"{first.root} and {len(sets) - 1} more")
    precision = "float32" if any(features.manifest.precision == "float32" for features in sets) else "float16"
    manifest = first.manifest.model_copy(update={"precision": precision})
    rows = JoinedRows(tuple(features.dataset for features in sets))
    return FeatureSet(folder, manifest, first.vectors, first.dim, rows, first.variant)


def _check_distinct(sets: Sequence[FeatureSet]) -> None:
    seen = IdSet()
    for features in sets:
        for ids in _ids(features):
            seen.add(ids)
    repeated = seen.repeated()
    if not repeated:
        return
    owners: dict[str, str] = {}
    for features in sets:
        for image_id in (name for ids in _ids(features) for name in ids if digest_of(name) in repeated):
            if image_id in owners:
                more = f" ({len(repeated):,} such photos)" if len(repeated) > 1 else ""
                raise QpertError(
                    f"{image_id} is in {owners[image_id]} and in {features.root}{more}; a gallery holds each photo"
                    " once: name sets of different photos"
                )
            owners[image_id] = features.root


def _ids(features: FeatureSet) -> Iterator[list[str]]:
    for block in features.iter_blocks(["image_id"], failed=True):
        yield [str(name) for name in block["image_id"].to_pylist()]


def changed_settings(sets: Sequence[FeatureSet]) -> list[str]:
    """How settings that change the embeddings differ from those of the first set, as lines ``name: old -> new``.

    Empty if all are the same. The scores of sets that differ may not be comparable.
    """
    mine, *others = ({name: features.manifest.identity.get(name) for name in _SETTINGS} for features in sets)
    return list(dict.fromkeys(line for its in others for line in differences(mine, its)))

"""The sample of vectors that a quantiser is trained on: from features files chosen at random, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

from pipeline.building.set_files import SetFile, SetPart
from pipeline.building.vector_rows import vector_rows
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.similarity import rows_per_block
from pipeline.vectors.ranking import Rows

_FILES = 16
"""Files to sample from at least, so that one folder of photos is not all that is seen."""
_SPARE = 2
"""Vectors in the chosen files for each vector of the sample, at least."""


def choose_files(files: Sequence[SetFile], photos: float, seed: int) -> tuple[SetFile, ...]:
    """Chooses files at random that have enough photos for a sample, in the order of the set.

    Args:
        files: of the set.
        photos: wanted in the sample.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(files))
    chosen: list[int] = []
    held = 0
    for number in order:
        if len(chosen) >= _FILES and held >= _SPARE * photos:
            break
        chosen.append(int(number))
        held += files[number].photos
    return tuple(files[number] for number in sorted(chosen))


def read_sample(features: FeatureSet, files: Sequence[SetFile], count: int, seed: int, *, whole: bool = False) -> Rows:
    """Reads a random sample of the vectors of some files.

    Each file is drawn from by itself, so that the sample does not depend on how the files are read.

    Args:
        features: their set.
        files: the chosen ones.
        count: vectors wanted; about as many are returned, fewer if there are fewer.
        seed: of the draws.
        whole: draw photos, and take all their vectors; otherwise each vector counts as a photo.

    Raises:
        QpertError: a file is damaged.
    """
    blocks: list[npt.NDArray[np.float16 | np.float32]] = []
    counts: list[npt.NDArray[np.int64]] = []
    photos = sum(file.photos for file in files)
    for file in files:
        draws = np.random.default_rng([seed, crc32(file.identity.encode())])
        few = SetPart.of(features, [file.name]).open()
        wanted = count * file.photos / max(1, photos)
        for block in few.iter_blocks(["image_id", "embedding"], rows_per_block(few)):
            vectors, rows, _ = vector_rows(few, block)
            # Views differ in number from photo to photo: a photo counts as much as another, however many it has.
            share = wanted * block.num_rows / (max(1, file.photos) * max(1, len(vectors)))
            chosen = (draws.random(block.num_rows) < share)[rows] if whole else draws.random(len(vectors)) < share
            blocks.append(vectors[chosen])
            numbers = np.bincount(rows[chosen]) if whole else np.ones(len(blocks[-1]), np.int64)
            counts.append(numbers[numbers > 0])
    what = f"the sample of {features.root}"
    if not blocks:
        return Rows(np.empty((0, features.dim), np.float32), np.empty(0, np.int64), what)
    return Rows(np.concatenate(blocks), np.concatenate(counts), what)

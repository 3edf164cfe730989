"""Groups of files with the same bytes, by the digests that are stored with the features; no vectors are read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.duplicates.catalogue import Catalogue, Int64
from pipeline.duplicates.grouping import Groups


def group_by_bytes(catalogue: Catalogue, order: Int64) -> tuple[Groups, int]:
    """The groups of byte-identical photos, and how many photos have no digest and so are in no group.

    Digests are 128 bits of BLAKE2b: different photos share one as good as never.

    Args:
        catalogue: with the column `digest`.
        order: the photos in the order in which they are worth keeping.
    """
    digests = catalogue.table["digest"].take(pa.array(order)).combine_chunks()
    known = np.flatnonzero(np.asarray(pc.is_valid(digests)))
    groups = Groups.none(len(order))
    groups.leaders[:] = np.arange(len(order))
    codes = pc.dictionary_encode(digests).indices.take(pa.array(known)).to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    groups.leaders[known] = known[first[inverse]]
    groups.done = len(order)
    return groups, len(order) - len(known)

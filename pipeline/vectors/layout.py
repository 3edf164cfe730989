"""The names of the files of an index, in ``search/`` beside the features."""

from __future__ import annotations

SHARDS = "shards"
"""The folder of the shards below that of an index."""
PHOTOS, VECTORS, LENGTHS = "photos.arrow", "vectors.npy", "lengths.npy"
"""What is known of the photos of a shard, their stored vectors, and the lengths of these."""
LISTS, SIZES = "lists.bin", "lists.npy"
"""The inverted lists of a shard, and how many vectors each has."""
CODES = "codes.bin"
"""The codes of the vectors of a shard, photo by photo."""
UNFINISHED = ".new-"
"""How the folders of shards begin that are being written."""

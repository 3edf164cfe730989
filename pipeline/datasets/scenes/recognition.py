"""Telling scenes from real photos: the miniature models are made for scenes, and for nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.reading import read_named, read_photo
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.scenes.drawing import MARK
from pipeline.datasets.scenes.writer import KARPATHY_FILE
from pipeline.errors import QpertError
from pipeline.io.locations import local_path

_LOOKED_AT = 4
"""Photos of a source that are looked at."""
_HEAD = 4096
"""Bytes of a photo in which its comment is looked for."""
_PATIENCE = 10.0
"""Seconds after which a storage that has not answered is not waited for."""


def are_scenes(photos: Listing | Shards) -> bool | None:
    """Whether a source holds scenes, judged by its first few photos; None if none of them can be read in time.

    A photo is a scene if it has the comment of `draw_scene`, or lies where `write_scenes` puts scenes: earlier versions
    of it wrote no comment. Real photos among the first few decide for real photos. Never raises an error.
    """
    verdicts: list[bool] = []

    def look() -> None:
        # Storage fails in any way it likes; the run that follows says how.
        try:
            verdicts.extend(_verdicts(photos))
        except Exception:
            return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    seen = list(verdicts)
    return all(seen) if seen else None


def _verdicts(photos: Listing | Shards) -> Iterator[bool]:
    if isinstance(photos, Listing):
        for item in islice(photos.saved_items(), _LOOKED_AT):
            try:
                yield _beside_captions(item.uri) or _is_marked(read_photo(item.uri, photos.rules))
            except QpertError:
                continue
        return
    named = partial(read_named, rules=photos.rules)
    tables = (read_shard(shard, 1, _LOOKED_AT, photos.rules, named) for shard in photos.shards[:_LOOKED_AT])
    for table in islice(chain.from_iterable(tables), _LOOKED_AT):
        data = table["data"][0].as_py()
        if data is not None:
            yield _is_marked(data)


def _is_marked(data: bytes) -> bool:
    return MARK in data[:_HEAD]


def _beside_captions(uri: str | None) -> bool:
    """Whether a local photo lies in a folder `images` beside the captions of scenes."""
    path = None if uri is None else local_path(uri)
    if path is None:
        return False
    return os.path.isfile(os.path.join(os.path.dirname(path), os.pardir, KARPATHY_FILE))

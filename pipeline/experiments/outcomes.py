"""The outcome of every query under every setting, kept on disk so that an interrupted experiment measures it once."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.boxes.identity import annotations_identity
from pipeline.experiments.material import Material
from pipeline.experiments.variants import Variant
from pipeline.features.fingerprint import fingerprint
from pipeline.io.locations import write_atomically
from pipeline.retrieval.ranks import Ranks


class Outcomes:
    """`Ranks` by name in one folder, as `.npz` files without pickled objects."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def find(self, name: str) -> Ranks | None:
        """The ranks called `name`, or None if they are missing or damaged."""
        try:
            with np.load(self._path(name), allow_pickle=False) as file:
                ids = tuple(str(image_id) for image_id in file["image_ids"])
                photos = file.get("photos")
                return Ranks(file["text_ranks"], file["image_ranks"], file["image_of_text"], file["bins"], ids, photos)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def keep(self, name: str, ranks: Ranks) -> None:
        """Stores the ranks called `name`, replacing older ones."""
        stream = io.BytesIO()
        arrays: dict[str, Any] = {
            "text_ranks": ranks.text_ranks,
            "image_ranks": ranks.image_ranks,
            "image_of_text": ranks.image_of_text,
            "bins": ranks.bins,
            "image_ids": np.array(ranks.image_ids, np.str_),
        }
        if ranks.photos is not None:
            arrays["photos"] = ranks.photos
        np.savez_compressed(stream, **arrays)
        write_atomically(str(self._path(name)), stream.getvalue())

    def _path(self, name: str) -> Path:
        plain = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
        return self.folder / f"{plain}.npz"


def outcomes_key(variants: Mapping[str, Variant], material: Material) -> str:
    """A fingerprint of everything that outcomes depend on: other features, captions or boxes give other outcomes."""
    stores = {variant.store.root: variant.store for variant in variants.values()}
    manifests = [store.manifest() for _, store in sorted(stores.items())]
    asked = {
        "sets": [[manifest.fingerprint, manifest.counts] for manifest in manifests],
        "captions": [[image.image_id, image.captions] for image in material.captions],
        "annotations": annotations_identity(material.annotations),
    }
    return fingerprint(asked)

"""The outcome of every query under every setting, kept on disk so that an interrupted reproduction measures once."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from pipeline.io.locations import write_atomically
from pipeline.retrieval.ranks import Ranks


class Outcomes:
    """`Ranks` by name in one folder, as `.npz` files without pickled objects."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def find(self, name: str) -> Ranks | None:
        """The ranks called `name`, or None when they are not there (or not whole)."""
        try:
            with np.load(self._path(name), allow_pickle=False) as file:
                ids = tuple(str(each) for each in file["image_ids"])
                return Ranks(file["text_ranks"], file["image_ranks"], file["image_of_text"], file["bins"], ids)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def keep(self, name: str, ranks: Ranks) -> None:
        """Store the ranks called `name`, in place of what was there."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            text_ranks=ranks.text_ranks,
            image_ranks=ranks.image_ranks,
            image_of_text=ranks.image_of_text,
            bins=ranks.bins,
            image_ids=np.array(ranks.image_ids, np.str_),
        )
        write_atomically(str(self._path(name)), stream.getvalue())

    def _path(self, name: str) -> Path:
        plain = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
        return self.folder / f"{plain}.npz"

"""The forms of an export, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipeline.exports import csv_table, faiss_index, hugging_face, lance_dataset, numpy_array
from pipeline.exports.job import Job, is_export
from pipeline.exports.rows import ExportRows
from pipeline.exports.spec import Target
from pipeline.io.locations import Folder


def _any_rows(rows: ExportRows) -> None:
    pass


def _any_place(out: str) -> None:
    pass


@dataclass(frozen=True)
class Format:
    """A form of export.

    Attributes:
        write: writes it.
        is_ours: whether an earlier one is at a place.
        check_rows: refuses rows that it cannot hold.
        check_place: refuses places where it cannot be.
    """

    write: Callable[[Job], None]
    is_ours: Callable[[Folder], bool]
    check_rows: Callable[[ExportRows], None] = _any_rows
    check_place: Callable[[str], None] = _any_place


FORMATS: dict[Target, Format] = {
    "lance": Format(lance_dataset.write, lance_dataset.is_ours, check_place=lance_dataset.check),
    "faiss": Format(faiss_index.write, partial(is_export, target="faiss"), check_rows=faiss_index.check),
    "npy": Format(numpy_array.write, partial(is_export, target="npy"), check_rows=numpy_array.check),
    "hf": Format(hugging_face.write, partial(is_export, target="hf")),
    "csv": Format(csv_table.write, csv_table.is_ours),
}

"""An export as a NumPy array: vectors.npy, which `numpy.load` maps, and ids.parquet."""

from __future__ import annotations

import io

import numpy as np

from pipeline.errors import QpertError
from pipeline.exports.job import Job
from pipeline.exports.matrix import write_matrix
from pipeline.exports.rows import ExportRows

NAME = "vectors.npy"


def check(rows: ExportRows) -> None:
    """Refuses rows of different lengths.

    Raises:
        QpertError: says what to choose instead.
    """
    if rows.vectors_per_row is None:
        raise QpertError(
            "photos with several views have different numbers of vectors, which are no array with a row per photo;"
            " choose --rows vector or --pool mean"
        )


def write(job: Job) -> None:
    """Writes an array of [rows, D], or of [rows, V, D] where a row is a photo of V vectors."""
    rows = job.rows
    each = () if rows.vectors_per_row == 1 else (rows.features.vectors,)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {
            "descr": np.dtype(rows.precision).str,
            "fortran_order": False,
            "shape": (job.count, *each, rows.features.dim),
        },
    )
    write_matrix(job, NAME, header.getvalue(), ())

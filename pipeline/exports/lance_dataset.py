"""An export as a Lance dataset, which LanceDB opens as a table."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from pipeline.errors import QpertError
from pipeline.exports.job import Job
from pipeline.io.locations import Folder, local_path

_SUFFIX = ".lance"
_SCHEMES = ("s3", "gs", "az")
_ABOUT = b"qpert"


def check(out: str) -> None:
    """Refuses what Lance cannot write to, and names that LanceDB would not find.

    Raises:
        QpertError: says which; or Lance is not installed.
    """
    _lance()
    place = _place(out)
    if not place.rstrip("/").endswith(_SUFFIX):
        raise QpertError(f"--out {out}: LanceDB finds a table by the name of its folder, TABLE{_SUFFIX}; name it so")


def write(job: Job) -> None:
    """Writes the dataset; its metadata hold what other forms have in export.json."""
    schema = job.rows.schema.with_metadata({_ABOUT: json.dumps(job.about).encode()})
    batches = (batch.replace_schema_metadata(schema.metadata) for batch in job.batches)
    # A schema in the metadata of another is lost on the way, so both are named.
    _lance().write_dataset(
        pa.RecordBatchReader.from_batches(schema, batches), _place(job.folder.root), schema=schema, mode="create"
    )


def is_ours(folder: Folder) -> bool:
    """Whether it is a dataset that `write` made."""
    try:
        return _ABOUT in (_lance().dataset(_place(folder.root)).schema.metadata or {})
    except (OSError, ValueError):
        return False


def _place(out: str) -> str:
    """The path or URI as Lance takes it, which opens object stores by itself."""
    local = local_path(out)
    if local is not None:
        return local
    if out.partition("://")[0].lower() not in _SCHEMES or "?" in out:
        raise QpertError(
            f"--to lance cannot write to {out}: it takes local paths and s3://, gs:// and az:// without options, which"
            " it reads from the environment"
        )
    return out


def _lance() -> Any:
    try:
        import lance
    except ImportError as error:
        raise QpertError("--to lance needs the package pylance: pip install 'qpert[lance]'") from error
    return lance

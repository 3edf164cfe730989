"""Whether an output folder can be written to, found out before any work starts."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import QpertError
from pipeline.io.locations import absolute, is_uri


def check_writable(out: str) -> None:
    """Refuses an output folder that is a file or cannot be written to. Object stores are not asked.

    Raises:
        QpertError: says what is wrong with the folder.
    """
    if is_uri(out):
        return
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not os.path.isabs(out):
        raise QpertError(
            f"--out {out}: the working folder of a submitted job is deleted when the job ends; give an absolute path"
            " that all nodes see, or a URI such as s3://bucket/features"
        )
    folder = Path(absolute(out))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise QpertError(f"--out {out}: {folder} is a file; name a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise QpertError(f"--out {out}: no permission to write to {folder}")

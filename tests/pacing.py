"""Makes whole runs last: reading a JPEG takes a while in every process of a run, so that a few photos suffice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import os, time
from PIL.JpegImagePlugin import JpegImageFile
load = JpegImageFile.load
def paced(self):
    if self.tile and os.path.exists({flag!r}):  # not decoded yet
        time.sleep({seconds})
    return load(self)
JpegImageFile.load = paced
"""


@dataclass(frozen=True)
class Pace:
    """`seconds` per JPEG in processes with `environment()`, until `end()`; `folder` holds what they run first."""

    folder: Path
    seconds: float

    def environment(self, *paths: str | Path) -> dict[str, str]:
        """What to add to the environment of a process, whose children inherit it; `paths` are for its imports."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "slow").touch()
        program = _PROGRAM.format(flag=str(self.folder / "slow"), seconds=self.seconds)
        (self.folder / "sitecustomize.py").write_text(program)
        return {"PYTHONPATH": os.pathsep.join(map(str, (self.folder, *paths)))}

    def end(self) -> None:
        """From now on at full speed."""
        (self.folder / "slow").unlink()

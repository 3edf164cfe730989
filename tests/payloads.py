"""A harmless program to hide in files: where it runs, it leaves a file."""

from __future__ import annotations

import os


class Touch:
    """Unpickling one makes a folder at `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)

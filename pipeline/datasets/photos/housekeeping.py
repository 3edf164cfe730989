"""Names of files and folders that systems and programs keep for themselves: no photos of anyone."""

from __future__ import annotations

import posixpath

_FOLDERS = {
    "__macosx": "folders of macOS",
    ".appledouble": "folders of macOS",
    "@eadir": "thumbnails of a NAS",
    "#recycle": "recycle bins",
    "#snapshot": "snapshots of a NAS",
    "@recycle": "recycle bins",
    "@recently-snapshot": "snapshots of a NAS",
    "@tmp": "folders of a NAS",
    "$recycle.bin": "recycle bins",
    "recycler": "recycle bins",
    "recycled": "recycle bins",
    "network trash folder": "recycle bins",
    "temporary items": "folders of macOS",
    "~snapshot": "snapshots of a NAS",
    "system volume information": "folders of Windows",
    "lost+found": "folders of the file system",
}
_FILES = {
    "thumbs.db": "files of Windows",
    "ehthumbs.db": "files of Windows",
    "ehthumbs_vista.db": "files of Windows",
    "desktop.ini": "files of Windows",
    "icon\r": "files of macOS",
}


def is_housekeeping(name: str) -> str | None:
    """Why one component of a path is no photo of anyone: a reason that reads well after a number, or None.

    Names that begin with ``._`` are what macOS keeps beside a file on disks of others, with the file's own suffix.
    """
    if name.startswith("._") or name == ".DS_Store":
        return "files of macOS"
    return _FOLDERS.get(name.lower()) or _FILES.get(name.lower()) or ("hidden" if _hidden(name) else None)


def housekeeping_in(path: str) -> str | None:
    """The same for the first such component of a relative path with slashes, as archives and tables have it."""
    parts = posixpath.normpath(path).split("/") if path else []
    return next((reason for part in parts if (reason := is_housekeeping(part))), None)


def _hidden(name: str) -> bool:
    return name.startswith(".") and name not in (".", "..")

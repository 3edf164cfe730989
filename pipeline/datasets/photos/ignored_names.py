"""Names of files and folders that operating systems and programs keep for themselves, and that are never photos."""

from __future__ import annotations

import posixpath

HIDDEN = "hidden"

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


def reason_to_ignore(name: str) -> str | None:
    """Why a file or folder of this name is ignored, in words that read well after a number; None if it is not.

    Names that begin with ``._`` are files that macOS writes beside others on foreign disks, with the same suffix.
    """
    if name.startswith("._") or name == ".DS_Store":
        return "files of macOS"
    hidden = name.startswith(".") and name not in (".", "..")
    return _FOLDERS.get(name.lower()) or _FILES.get(name.lower()) or (HIDDEN if hidden else None)


def reason_to_ignore_path(path: str) -> str | None:
    """The same for the first such component of a relative path with slashes, as in archives and tables."""
    parts = posixpath.normpath(path).split("/") if path else []
    return next((reason for part in parts if (reason := reason_to_ignore(part))), None)

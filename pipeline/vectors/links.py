"""Symbolic links in the index of a feature set, through which nothing is written or deleted."""

from __future__ import annotations

import os

from pipeline.errors import QpertError
from pipeline.io.locations import Folder, is_uri
from pipeline.vectors.versions import SEARCH


def check_no_links(folder: Folder) -> None:
    """Check that an index beside some features is what it seems, before it is changed.

    A feature set may be somebody else's, and its links may lead to folders of the user.

    Args:
        folder: the feature set.

    Raises:
        QpertError: the folder of the index, or something in it, is a symbolic link.
    """
    if is_uri(folder.root):
        return
    search = folder.at(SEARCH)
    found = (os.path.join(above, name) for above, folders, files in os.walk(search) for name in (*folders, *files))
    for path in (search, *found):
        if os.path.islink(path):
            raise QpertError(
                f"{path} is a symbolic link, and an index is not written through links: a feature set may be somebody"
                " else's; remove the link, or put it on the feature set itself"
            )

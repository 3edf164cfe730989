"""Where an export goes: written beside the destination and then moved into place, never over what is not an export."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.io.locations import Folder, answering, file_type, local_path
from pipeline.io.writable import check_writable
from pipeline.printing import size_text

IsOurs = Callable[[Folder], bool]
"""Whether what is at a place is an earlier export, of a form that may be replaced."""


def check_destination(out: str, is_ours: IsOurs, *, force: bool) -> None:
    """Refuses a destination before any work.

    Raises:
        QpertError: something is there that is not an export, or is one and `force` is not set; nothing can be written.
    """
    kind = file_type(out)
    if kind != fs.FileType.NotFound and not _is_empty_folder(out, kind):
        if not is_ours(Folder.open(out)):
            raise QpertError(
                f"--out {out} exists and is not an earlier export of this form, so it is not replaced; choose another"
                " name, or delete it first"
            )
        if not force:
            raise QpertError(f"--out {out} exists; replace it with --force, or choose another name")
    check_writable(os.path.dirname(_local(out)) if local_path(out) is not None else out)


def _is_empty_folder(out: str, kind: fs.FileType) -> bool:
    if kind != fs.FileType.Directory:
        return False
    filesystem, path = Folder.open(out).filesystem, Folder.open(out).path
    with answering(out):
        return not filesystem.get_file_info(fs.FileSelector(path, recursive=False))


@contextmanager
def placed(out: str) -> Iterator[Folder]:
    """Yields the place to write to, a name that does not exist yet; afterwards what was written there is at `out`.

    On local disks nobody sees a part of an export at `out`, and after an error nothing of it is left. Object stores
    cannot rename: there it is written in its place, without what was there before, and deleted after an error.

    Raises:
        OSError: storage fails.
    """
    if local_path(out) is None:
        folder = Folder.open(out)
        _delete(folder)
        try:
            yield folder
        except BaseException:
            with suppress(Exception):
                _delete(folder)
            raise
        return
    path = _local(out)
    written, before = f"{path}.{os.getpid()}.tmp", f"{path}.{os.getpid()}.old"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        _remove(written)
        yield Folder.open(written)
        if os.path.lexists(path):
            os.rename(path, before)
        os.rename(written, path)
    finally:
        _remove(written)
        _remove(before)


def check_room(out: str, needed: int) -> None:
    """Refuses an export for which a local disk has no room.

    Raises:
        QpertError: with what is needed and what is free.
    """
    if local_path(out) is None:
        return
    folder = os.path.dirname(_local(out))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise QpertError(
            f"the export takes about {size_text(needed)}, and {folder} has {size_text(free)} free; export less"
            " (--limit, --pool mean), or to another disk"
        )


def _local(out: str) -> str:
    """The local path, with links to it resolved, so that what they lead to is replaced and not the link."""
    return os.path.realpath(str(local_path(out)))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.remove(path)


def _delete(folder: Folder) -> None:
    kind = folder.filesystem.get_file_info(folder.path).type
    if kind == fs.FileType.Directory:
        folder.filesystem.delete_dir(folder.path)
    elif kind == fs.FileType.File:
        folder.filesystem.delete_file(folder.path)


def output_stream(folder: Folder, *names: str) -> fs.NativeFile:
    """A file below a folder, opened to be written from its start; folders between are made."""
    path = folder.at(*names)
    folder.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    return folder.filesystem.open_output_stream(path)

"""Reading one photo by the URI of its row: a file, or a photo in a tar or Parquet file."""

from __future__ import annotations

from urllib.parse import unquote

from pipeline.datasets.photos.access import check_place, read_file, scheme_of
from pipeline.datasets.photos.list_file import place_of
from pipeline.datasets.photos.parquet import read_row
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shard import is_shard, is_tar
from pipeline.datasets.photos.tars import tar_member
from pipeline.datasets.photos.web import WEB
from pipeline.errors import QpertError, first_line
from pipeline.io.locations import is_uri


def read_photo(uri: str | None, rules: SourceRules = DEFAULT_RULES) -> bytes:
    """The encoded bytes of one photo by the `uri` of its row: a file, or a photo in a shard (see `member_uri`).

    Raises:
        QpertError: the photo cannot be read, or the rules forbid it; the message is one short line that begins with the
            kind of failure. Nothing else is raised, whatever the file holds.
    """
    if not uri:
        raise QpertError("no path or URI in this row, or no id")
    try:
        shard, mark, member = uri.partition("#")
        if mark and is_uri(uri) and scheme_of(uri) not in WEB and is_shard(shard):
            check_place(shard, rules)
            return read_from_shard(shard, member, rules.max_bytes)
        return read_file(uri, rules)
    except QpertError:
        raise
    except FileNotFoundError:
        raise QpertError("file not found" + ("; folders are separated by /, not \\" if "\\" in uri else "")) from None
    except PermissionError:
        raise QpertError("no permission to read the file") from None
    except Exception as error:  # file systems and archives can raise anything; one photo must never end a run
        raise QpertError(f"cannot read the file: {type(error).__name__}: {first_line(error)[:120]}") from error


def read_named(folder: str, text: str, rules: SourceRules) -> tuple[str, bytes]:
    """A photo that a table in `folder` names by a path or URI: its URI and its encoded bytes.

    Raises:
        QpertError: the photo cannot be read, see `read_photo`.
    """
    place = place_of(folder, text)
    return place, read_photo(place, rules)


def read_from_shard(path: str, member: str, max_bytes: int = SourceRules.max_bytes) -> bytes:
    """One photo of the shard `path`, by the part after the ``#`` of its URI.

    Raises:
        QpertError: the shard does not have such a photo, or cannot be read.
    """
    name, _, number = member.partition(";")
    name = unquote(name)
    valid = number.isascii() and number.isdecimal() and len(number) < 19
    if not valid and (number or not is_tar(path)):
        raise QpertError(f"not a photo in a tar or Parquet file: {path}#{member}")
    if is_tar(path):
        return tar_member(path, name, max(1, int(number or 1)), max_bytes)
    return read_row(path, name, int(number), max_bytes)

"""Safe reading of Parquet from outside: what a file declares is checked before Arrow builds anything from it.

A Parquet file may carry an Arrow schema with extension types. Arrow rebuilds those that are registered in this process
(Ray's are, once `ray.data` is imported) when the file is opened, and the values of some of them are pickles, which run
code when they are looked at. So the file's footer is searched before Arrow sees it, and only plain types are accepted.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import Folder, locate

MAX_COLUMNS = 10_000
MAX_DEPTH = 32
"""Nesting of types: a list of structs of lists has depth three."""
MAX_FOOTER = 2**27
"""Bytes of metadata: a file needs a few thousand per row group."""

_AT_ONCE = 16
_TAIL = 2**16
"""Bytes at the end of a file that are read first: most footers are shorter."""
_MAGIC = b"PAR1"
_NAME = b"ARROW:extension:name"
_NEUTRAL = b"ARROW:extension-name"
"""Same length, but meaningless to Arrow: with it in the place of `_NAME`, a schema is read without its extensions."""
_SCHEMA = re.compile(rb"/////[A-Za-z0-9+/]*={0,2}")
"""An Arrow schema in a footer: base64 of a message that begins with FF FF FF FF."""
_DAMAGE = (OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError, pa.ArrowException)


class DamagedTable(QpertError):
    """A file that is not Parquet, or is incomplete; other files of its source may be intact."""


@contextmanager
def open_table(
    path: str,
    filesystem: fs.FileSystem | None = None,
    *,
    buffer_size: int = 0,
    dictionaries: Sequence[str] = (),
    checksums: bool = False,
) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of plain columns for reading.

    Args:
        path: path or URI; a path within `filesystem` if that is given.
        filesystem: where the file is.
        buffer_size: bytes to read ahead per column; 0 for a whole row group.
        dictionaries: text columns to keep as dictionaries: a short file can repeat a long text a million times.
        checksums: verify the checksums of pages, if the file has any.

    Raises:
        QpertError: the file has extension types, or far too many columns or bytes of metadata.
        DamagedTable: it does not exist or cannot be read, even if that only shows within the context.
    """
    name = path
    if filesystem is None:
        filesystem, path = locate(path)
    try:
        with filesystem.open_input_file(path) as file:
            end = _end(file, name)
            _refuse_extensions(end, name)
            plain = {"schema_depth_limit": MAX_DEPTH, "arrow_extensions_enabled": False}
            with pq.ParquetFile(
                file,
                # From what was read already: a bucket takes its time for every request.
                metadata=pq.ParquetFile(pa.BufferReader(end), **plain).metadata,
                buffer_size=buffer_size,
                pre_buffer=not buffer_size,
                read_dictionary=list(dictionaries) or None,
                page_checksum_verification=checksums,
                **plain,
            ) as table:
                _check_schema(table.schema_arrow, name)
                yield table
    except FileNotFoundError:
        raise DamagedTable(f"file not found: {name}") from None
    except _DAMAGE as error:
        raise DamagedTable(f"not a Parquet file that can be read: {name} ({first_line(error)[:300]})") from error


def read_table(path: str, columns: Sequence[str] | None = None, filesystem: fs.FileSystem | None = None) -> pa.Table:
    """Read a whole Parquet file, or some `columns` of it, with the checks of `open_table`.

    Raises:
        QpertError: see `open_table`.
    """
    with open_table(path, filesystem) as table:
        return read_all(table, columns)


def read_all(table: pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all rows of a file within the context of `open_table`, which turns errors into messages.

    Raises:
        ArrowInvalid: the file has fewer rows than it states, or invalid values.
    """
    rows = table.read(columns=None if columns is None else list(columns))
    if rows.num_rows != table.metadata.num_rows:  # Arrow does not report every damage
        raise pa.ArrowInvalid(f"{rows.num_rows} of {table.metadata.num_rows} rows")
    rows.validate(full=True)  # an index beyond a dictionary would read foreign memory
    return rows


def check_tables(root: str | Folder) -> None:
    """Check all files in a folder, at any depth, before something else reads them as Parquet, such as Ray.

    Files that are not Parquet are accepted: their reader will find them damaged too.

    Args:
        root: the folder, or its path or URI; it need not exist.

    Raises:
        QpertError: a file has extension types, see `open_table`.
    """
    folder = Folder.open(root)
    filesystem = folder.filesystem
    infos = filesystem.get_file_info(fs.FileSelector(folder.path, recursive=True, allow_not_found=True))
    paths = [info.path for info in infos if info.type == fs.FileType.File]
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a bucket answers slowly
        for _ in pool.map(partial(_check_table, filesystem), paths):
            pass


def _check_table(filesystem: fs.FileSystem, path: str) -> None:
    with suppress(DamagedTable), open_table(path, filesystem):
        pass


def _end(file: pa.NativeFile, name: str) -> bytes:
    """The footer of a file and what follows it, read at once unless the footer is long."""
    size = file.size()
    file.seek(max(size - _TAIL, 0))
    end = bytes(file.read(_TAIL))
    length = int.from_bytes(end[-8:-4], "little")
    if size < 12 or end[-4:] != _MAGIC or length > size - 8:
        raise pa.ArrowInvalid("it does not end like one" if size else "it is empty")
    if length > MAX_FOOTER:
        raise QpertError(f"{name}: {length} bytes of metadata, limit {MAX_FOOTER}")
    if (missing := length + 8 - len(end)) > 0:
        file.seek(size - length - 8)
        end = bytes(file.read(missing)) + end
    file.seek(0)
    return end[-length - 8 :]


def _refuse_extensions(footer: bytes, name: str) -> None:
    """Search the footer, which holds the Arrow schema once or, in a malicious file, several times."""
    if not any(form in footer for form in _in_base64(_NAME)):
        return
    extensions = [extension for schema in _SCHEMA.findall(footer) for extension in _extensions(schema)]
    what = (
        "; ".join(f"column {column} is {kind}" for column, kind in extensions[:5]) or "in a schema that cannot be read"
    )
    raise QpertError(
        f"{name} has Arrow extension types, which may hold programs and are never read: {what}."
        " Write the table again with plain columns (text, whole numbers, binary), or without these"
    )


def _in_base64(text: bytes) -> list[bytes]:
    """What every base64 encoding that contains `text` has in common, for each of its three alignments."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + text)
        first = (before * 8 + 5) // 6
        whole = (before + len(text)) * 8 // 6
        forms.append(encoded[first:whole])
    return forms


def _extensions(schema: bytes) -> Iterator[tuple[str, str]]:
    """Columns and their extension types in a base64 schema, without building any."""
    try:
        message = base64.b64decode(schema[: len(schema) // 4 * 4]).replace(_NAME, _NEUTRAL)
        fields = pa.ipc.read_schema(pa.py_buffer(message))
        yield from _named(list(fields), "")
    except _DAMAGE:
        return


def _named(fields: Iterable[pa.Field], prefix: str) -> Iterator[tuple[str, str]]:
    for field in fields:
        kind = (field.metadata or {}).get(_NEUTRAL)
        if kind is not None:
            yield prefix + field.name, kind.decode("utf-8", "replace")
        yield from _named(_children(field.type), f"{prefix}{field.name}.")


def _children(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_dictionary(kind):
        return [pa.field("values", kind.value_type)]
    return [kind.field(at) for at in range(kind.num_fields)]


def _check_schema(schema: pa.Schema, name: str) -> None:
    if len(schema) > MAX_COLUMNS:
        raise QpertError(f"{name} has {len(schema)} columns, limit {MAX_COLUMNS}")
    for field in schema:
        if _has_extension(field.type):
            raise QpertError(f"{name}: column {field.name} is {field.type}, an extension type, which is never read")


def _has_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) or any(_has_extension(child.type) for child in _children(kind))

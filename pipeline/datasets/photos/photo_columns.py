"""Finding the column of a table that holds photos or names them, by its values, its type and its name."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_SAMPLES, _ROWS = 8, 64
"""Values of a column that are inspected, and rows that are searched for them."""
_URI_NAMES = (
    *("uri", "url", "imageuri", "imageurl", "imguri", "imgurl", "photouri", "photourl", "pictureurl", "path"),
    *("imagepath", "imgpath", "photopath", "picturepath", "filepath", "file", "filename", "imagefile", "imagefilename"),
    *("image", "img", "photo", "picture", "imagename", "src", "link"),
)
_DATA_NAMES = (
    *("jpg", "jpeg", "png", "webp", "image", "img", "photo", "picture", "bytes", "data", "content", "imagebytes"),
    *("imgbytes", "imagedata", "imgdata", "imagecontent", "photobytes", "binary", "blob", "encoded"),
)
_NO_DATA = re.compile(r"md5|sha\d*|digest|checksum|hash|crc|uuid|key|embedding|vector|_?id$", re.IGNORECASE)
_BASE64 = re.compile(r"(?:data:[^,]{0,100};base64,)?\s*", re.IGNORECASE)

_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\xff\x0a"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL "),
)
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")


@dataclass(frozen=True)
class Columns:
    """The columns of a Parquet source.

    Attributes:
        data: encoded photos.
        uri: paths or URIs of photos. If there are both, rows without bytes are read from their path or URI.
        id: ids.
    """

    data: str | None = None
    uri: str | None = None
    id: str | None = None


def looks_like_photo(data: bytes) -> bool:
    """Whether `data` begins like an encoded photo."""
    if data.startswith(_STARTS) or (data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace()):
        return True
    return (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or (data[4:8] == b"ftyp" and data[8:12] in _BRANDS)


def choose_columns(table: pq.ParquetFile) -> Columns:
    """Choose the columns of photos in an open Parquet file; both are None if no column looks like photos.

    In order of preference: a column whose values are photos, whatever its name and type; a column of bytes with a name
    that suggests photos; a column of text (stored as text or as bytes) with a name that suggests paths; any other
    column of bytes whose name does not suggest a digest.
    """
    paths = dict(_leaves(table.schema_arrow))
    samples = _samples(table, [path for path, kind in paths.items() if is_data(kind)])
    by_name = sorted(paths, key=lambda path: _rank(path, _DATA_NAMES))
    with_photos = next((path for path in by_name if _mostly_photos(samples.get(path, []))), None)
    places = [path for path in paths if is_text(paths[path]) or (is_binary(paths[path]) and _are_places(samples[path]))]
    binary = [path for path in by_name if is_binary(paths[path]) and path not in places]
    named = next((path for path in binary if _rank(path, _DATA_NAMES) < len(_DATA_NAMES)), None)
    data = with_photos or named
    if data is not None:
        return Columns(data, _sibling(data, places))
    uri = _place(places)
    if uri is not None:
        return Columns(None, uri)
    return Columns(next((path for path in binary if "." not in path and not _NO_DATA.search(path)), None))


def type_of(schema: pa.Schema, column: str) -> pa.DataType | None:
    """The type of a column by its name or path into a struct (``image.bytes``); None if it is missing or not unique."""
    if column in schema.names:
        return None if schema.names.count(column) > 1 else schema.field(column).type
    outer, *inner = column.split(".")
    kind = schema.field(outer).type if schema.names.count(outer) == 1 else None
    for name in inner:
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def values_of(batch: pa.RecordBatch, column: str) -> pa.Array:
    """A column of a batch by its name or path.

    Raises:
        pa.ArrowInvalid: an index lies outside of its dictionary; Arrow itself would read foreign memory.
    """
    outer, *inner = column.split(".")
    whole = column in batch.schema.names
    values = batch.column(column) if whole else pc.struct_field(batch.column(outer), inner)
    if isinstance(values, pa.DictionaryArray):
        edges = pc.min_max(values.indices)
        if edges["min"].is_valid and not 0 <= edges["min"].as_py() <= edges["max"].as_py() < len(values.dictionary):
            raise pa.ArrowInvalid(f"column {column} points outside of its dictionary")
    return values


def is_binary(kind: pa.DataType | None) -> bool:
    """Whether values of this type are bytes, of any length."""
    return _is(kind, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def is_text(kind: pa.DataType | None) -> bool:
    """Whether values of this type are text."""
    return _is(kind, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def is_data(kind: pa.DataType | None) -> bool:
    """Whether values of this type can hold a photo: bytes, a list of bytes, or base64 text."""
    listed = kind is not None and (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    bytes_ = listed and kind is not None and kind.value_type in (pa.uint8(), pa.int8())
    return bytes_ or is_binary(kind) or is_text(kind) or _is(kind, pa.types.is_fixed_size_binary)


def is_id(kind: pa.DataType | None) -> bool:
    """Whether values of this type can be ids: text, whole numbers, or bytes that are UTF-8."""
    return is_text(kind) or is_binary(kind) or _is(kind, pa.types.is_integer, pa.types.is_fixed_size_binary)


def holds_places(table: pq.ParquetFile, column: str) -> bool:
    """Whether a column of bytes may hold paths or URIs: some programs store all text as bytes."""
    values = _samples(table, [column])[column]
    return not values or _are_places(values)


def photo_of(value: Any, max_bytes: int) -> tuple[bytes | None, str | None]:
    """The photo in an Arrow scalar of a type that `is_data` accepts, or None and the reason (None if it is null)."""
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    if not value.is_valid:
        return None, None
    if isinstance(value, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        numbers = value.values
        if len(numbers) > max_bytes:
            return None, too_large(len(numbers), max_bytes)
        return (None, "null in a list of bytes") if numbers.null_count else (numbers.to_numpy().tobytes(), None)
    buffer = value.as_buffer()
    if is_text(value.type):
        if buffer.size > max_bytes * 4 // 3 + 200:
            return None, too_large(buffer.size * 3 // 4, max_bytes)
        return _from_base64(buffer.to_pybytes())
    return (None, too_large(buffer.size, max_bytes)) if buffer.size > max_bytes else (buffer.to_pybytes(), None)


def too_large(size: int, limit: int) -> str:
    """The reason why a photo of `size` bytes is refused."""
    return f"file too large: {size} bytes, limit {limit}"


def _from_base64(text: bytes) -> tuple[bytes | None, str | None]:
    start = re.match(_BASE64.pattern.encode(), text, re.IGNORECASE)
    body = b"".join(text[start.end() if start else 0 :].split())
    try:
        return base64.b64decode(
            body.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(body) % 4), validate=True
        ), None
    except (binascii.Error, ValueError):
        return None, "text that is not base64"


def _is(kind: pa.DataType | None, *tests: Callable[[pa.DataType], bool]) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind is not None and any(test(kind) for test in tests)


def _leaves(schema: pa.Schema, depth: int = 3) -> Iterator[tuple[str, pa.DataType]]:
    """Path and type of all columns, and of the fields of structs after them."""
    level = [(field.name, field.type) for field in schema if schema.names.count(field.name) == 1]
    for _ in range(depth):
        yield from level
        level = [
            (f"{path}.{field.name}", field.type)
            for path, kind in level
            if pa.types.is_struct(kind)
            for field in (kind.field(at) for at in range(kind.num_fields))
        ]


def _samples(table: pq.ParquetFile, paths: list[str]) -> dict[str, list[bytes]]:
    """The first bytes of the first values of columns that are not null."""
    samples: dict[str, list[bytes]] = {path: [] for path in paths}
    try:
        for batch in islice(table.iter_batches(1, columns=paths) if paths else (), _ROWS):
            for path, values in samples.items():
                if len(values) < _SAMPLES:
                    photo, reason = photo_of(values_of(batch, path)[0], 2**26)
                    values += [] if photo is None and reason is None else [(photo or b"")[:32]]
            if all(len(values) >= _SAMPLES for values in samples.values()):
                break
    except (OSError, pa.ArrowException):
        pass  # damage is reported when the rows are read
    return samples


def _mostly_photos(values: list[bytes]) -> bool:
    """Whether at least half are: one may be damaged, and a word may happen to decode to the start of a photo."""
    return bool(values) and sum(map(looks_like_photo, values)) * 2 >= len(values)


def _are_places(values: list[bytes]) -> bool:
    """Whether all begin like paths or URIs in UTF-8."""
    return bool(values) and all(map(_is_place, values))


def _is_place(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    return text.isprintable() and any(sign in text for sign in "./\\")


def _rank(path: str, names: tuple[str, ...]) -> int:
    """The position of a column's name in `names`, ignoring case and punctuation; `len(names)` if it is not there.

    A field of a struct counts by its own name.
    """
    name = re.sub(r"[\W_]", "", path.rpartition(".")[2]).lower()
    return names.index(name) if name in names else len(names)


def _sibling(data: str, places: list[str]) -> str | None:
    """The column of paths in the same struct as `data`, as in Hugging Face's `{bytes, path}`."""
    outer, dot, _ = data.rpartition(".")
    siblings = [path for path in places if dot and path.rpartition(".")[0] == outer]
    best = min(siblings, key=lambda path: _rank(path, _URI_NAMES), default=None)
    return best if best is not None and _rank(best, _URI_NAMES) < len(_URI_NAMES) else None


def _place(places: list[str]) -> str | None:
    named = [path for path in places if _rank(path, _URI_NAMES) < len(_URI_NAMES)]
    return min(named, key=lambda path: (path.count("."), _rank(path, _URI_NAMES)), default=None)

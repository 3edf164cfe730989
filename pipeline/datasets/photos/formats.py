"""Telling the kind of a file by its name, and by its first bytes if the name does not tell."""

from __future__ import annotations

from typing import Literal

from pipeline.datasets.photos.photo_columns import looks_like_photo
from pipeline.io.images.formats import SUFFIXES, UNDECODABLE

TARS = (".tar", *(f".tar.{form}" for form in ("gz", "bz2", "xz", "zst")), ".tgz", ".tbz2", ".tbz", ".txz", ".tzst")
FileKind = Literal["photo", "tar", "table", "undecodable", "other", "unknown"]

_OTHER = (
    *(".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".csv", ".tsv", ".ini"),
    *(".html", ".htm", ".css", ".js", ".py", ".sh", ".cls", ".lst", ".list", ".cfg", ".toml", ".pdf", ".doc", ".docx"),
    *(".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".zip", ".rar", ".7z", ".gz", ".bz2", ".xz", ".zst", ".npy", ".npz"),
    *(".pt", ".pth", ".pkl", ".safetensors", ".onnx", ".h5", ".hdf5", ".mat", ".arrow", ".feather", ".lmdb", ".mdb"),
    *(".db", ".sqlite", ".mp3", ".wav", ".flac", ".m4a", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mts"),
    *(".m4v", ".3gp", ".wmv", ".xmp", ".aae", ".thm", ".srt", ".exe", ".dll", ".so", ".iso", ".lnk", ".url", ".bak"),
)
"""Endings that photos never have: such files are not opened to inspect them."""
HEAD = 32
"""Number of first bytes that `is_image` inspects."""
_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}


def file_kind(name: str) -> FileKind:
    """The kind of a file of this name; "unknown" if only its first bytes tell."""
    lower = name.lower()
    kinds: tuple[tuple[tuple[str, ...], FileKind], ...] = (
        (SUFFIXES, "photo"),
        (TARS, "tar"),
        ((".parquet",), "table"),
        (UNDECODABLE, "undecodable"),
        (_OTHER, "other"),
    )
    return next((kind for endings, kind in kinds if lower.endswith(endings)), "unknown")


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is a photo, whatever its name."""
    # The two-byte signatures of BMP, JPEG XL and PNM are too short to tell an image from text.
    if head[:2] == b"BM":
        return head[6:10] == b"\0\0\0\0" and head[14:18] in _BMP_HEADERS
    return looks_like_photo(head) and head[:1] != b"P" and head[:2] != b"\xff\x0a"


def not_a_photo(name: str, kind: FileKind) -> str:
    """The reason why a file of this name and kind is left out, in words that read well after a number."""
    reason = "photos of a format that cannot be decoded" if kind == "undecodable" else "not photos"
    return reason + ending(name)


def ending(name: str) -> str:
    """The ending of a name as shown in messages: " (.txt)", " (no ending)"."""
    stem, dot, last = name.rpartition("/")[2].rpartition(".")
    return f" (.{last[:12].lower()})" if dot and stem and last else " (no ending)"

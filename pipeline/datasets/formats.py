"""What a file is, by its name; and where the name does not tell, by its first bytes."""

from __future__ import annotations

from typing import Literal

from pipeline.datasets.shards import SUFFIXES, TARS

FileKind = Literal["photo", "tar", "table", "undecodable", "other", "unknown"]

UNDECODABLE = (
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw"),
    *(".x3f", ".3fr", ".iiq", ".kdc", ".mrw", ".svg", ".svgz", ".psd", ".psb", ".xcf", ".ai", ".eps", ".exr", ".hdr"),
    *(".dds", ".jxr", ".wdp", ".hdp", ".djvu", ".emf", ".wmf", ".kra", ".fit", ".fits"),
)
"""Endings of pictures in formats that are not decoded."""
_OTHER = (
    *(".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".csv", ".tsv", ".ini"),
    *(".html", ".htm", ".css", ".js", ".py", ".sh", ".cls", ".lst", ".list", ".cfg", ".toml", ".pdf", ".doc", ".docx"),
    *(".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".zip", ".rar", ".7z", ".gz", ".bz2", ".xz", ".zst", ".npy", ".npz"),
    *(".pt", ".pth", ".pkl", ".safetensors", ".onnx", ".h5", ".hdf5", ".mat", ".arrow", ".feather", ".lmdb", ".mdb"),
    *(".db", ".sqlite", ".mp3", ".wav", ".flac", ".m4a", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mts"),
    *(".m4v", ".3gp", ".wmv", ".xmp", ".aae", ".thm", ".srt", ".exe", ".dll", ".so", ".iso", ".lnk", ".url", ".bak"),
)
"""Endings that are never a photo's: such files are not opened to look."""
HEAD = 32
"""Bytes that `is_image` looks at."""
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL \r\n\x87\n"),
)
_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}


def file_kind(name: str) -> FileKind:
    """What a file of such a name is; "unknown" where only its first bytes tell."""
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
    """Whether a file that begins with `head` is a photo, whatever it is called."""
    if head.startswith(_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    # Of BMP two letters alone would be too little.
    return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and head[14:18] in _BMP_HEADERS


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}


def ending(name: str) -> str:
    """The ending of a name as messages have it: " (.txt)", " (no ending)"."""
    stem, dot, last = name.rpartition(".")
    return f" (.{last[:12].lower()})" if dot and stem and last else " (no ending)"

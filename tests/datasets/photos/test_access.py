"""Which paths and URIs of photos may be opened, and which are refused."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.datasets.photos.access import check_place, hosts_of, is_chained, read_file, refusal, scheme_of
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import DEFAULT_RULES, SCHEMES, SourceRules
from pipeline.errors import QpertError

ALLOWED = SourceRules(schemes=(*SCHEMES, "http", "https", "zip", "sftp", "filecache", "simplecache", "memory"))
"""Rules that allow much, so that refusals have another reason."""


@pytest.mark.parametrize(
    "text",
    [
        *("zip::file:///etc/hostname", "ZIP::FILE:///x", "filecache::http://127.0.0.1/x", "simplecache::s3://b/k"),
        *("zip://x.jpg::file:///a.zip", "fsspec+zip://x.jpg::file:///a.zip", "fsspec+zip://x%3A%3Afile:///a.zip"),
        *("fsspec+zip://x%253A%253Afile:///a.zip", "zip%3A%3Afile:///a.zip", "fsspec+filecache::file:///x"),
        *("fsspec+memory://a::b", "http://h/x::file:///etc/hostname", "s3://b/x::file:///etc/hostname"),
    ],
)
def test_chained_urls_are_refused_in_any_spelling(text: str) -> None:
    assert is_chained(text)
    with pytest.raises(QpertError, match=r"^chained URLs are not opened$"):
        read_photo(text, ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        *("a::b.jpg", "/photos/a::b.jpg", "s3://b/a::b.jpg", "file:///p/std::x.jpg", "a b.jpg"),
        *("http://[2606:2800::1]/x.jpg", "https://h/a::b.jpg", "fsspec+https://[::1]:8080/x.jpg"),
    ],
)
def test_colons_in_names_are_not_chained_urls(text: str) -> None:
    assert not is_chained(text)
    assert refusal(text, SourceRules(schemes=("file", "s3", "http", "https"))) is None


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("http://127.0.0.1/x.jpg", "http"),
        ("HTTPS://h/x.jpg", "https"),
        ("fsspec+http://h/x.jpg", "http"),
        ("ftp://h/x", "ftp"),
        ("fsspec+sftp://h/x", "fsspec+sftp"),
        ("fsspec+file:///etc/hostname", "fsspec+file"),
        ("fsspec+s3://b/k", "fsspec+s3"),
        ("hdfs://h/x", "hdfs"),
        ("data://text", "data"),
        ("github://o:r@/x", "github"),
    ],
)
def test_other_schemes_must_be_allowed(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme
    with pytest.raises(QpertError) as caught:
        read_photo(uri)
    assert str(caught.value) == f"scheme not allowed: {scheme} (--allow-scheme {scheme})"
    assert refusal(uri, SourceRules(schemes=(*SCHEMES, scheme))) is None


def test_allowed_schemes_are_not_refused() -> None:
    assert refusal("fsspec+sftp://h/x", ALLOWED) is None  # as --allow-scheme sftp
    assert refusal("fsspec+s3://b/k", DEFAULT_RULES) is not None
    assert refusal("gcs://b/k", DEFAULT_RULES) is None
    assert refusal("S3://b/k", DEFAULT_RULES) is None


def test_a_missing_package_is_a_reason() -> None:
    with pytest.raises(QpertError, match=r"^cannot open the URI: fsspec\+sftp://h/x \(ImportError: .*paramiko"):
        read_photo("fsspec+sftp://h/x", ALLOWED)
    with pytest.raises(QpertError, match=r"^cannot open the URI: nothing://x"):
        read_photo("nothing://x", SourceRules(schemes=("nothing",)))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file://otherhost/x.jpg", "another machine"),
        ("file:/x.jpg", "begin with file:///"),
        ("FILE:/x.jpg", "begin with file:///"),
        ("a\0b.jpg", "NUL character"),
        ("file:///a\0b.jpg", "NUL character"),
        ("file:///a%00b.jpg", "cannot read the file"),
        ("/nowhere/x.jpg", "^file not found$"),
        ("\\\\server\\share\\x.jpg", r"^file not found; folders are separated by /"),
        ("x" * 5000, "^cannot read the file: File name too long$"),
        ("/" + "x/" * 3000, "^cannot read the file: File name too long$"),
        ("", "^no path or URI"),
        ("\ud800.jpg", "^cannot read the file: UnicodeEncodeError"),
        ("/etc/hostname/x.jpg", "^cannot read the file: NotADirectoryError"),
    ],
)
def test_odd_spellings_give_short_reasons(uri: str, reason: str) -> None:
    with pytest.raises(QpertError, match=reason) as caught:
        read_photo(uri)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_local_files_are_read_by_any_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    for uri in (f"{tmp_path}/a.jpg", f"file://{tmp_path}/a.jpg", f"file://localhost{tmp_path}/a.jpg"):
        assert read_photo(uri) == b"photo"


@pytest.fixture
def special(tmp_path: Path) -> Callable[[str], str]:
    """Makes files that are not regular."""
    kept = []

    def make(kind: str) -> str:
        path = tmp_path / "x.tar"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            kept.append(socket.socket(socket.AF_UNIX))
            kept[-1].bind(str(path))
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "dangling":
            path.symlink_to("nowhere")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "^cannot read the file: it is a named pipe$"),
        ("socket", "^cannot read the file: it is a socket$"),
        ("folder", "^cannot read the file: it is a folder$"),
        ("loop", "^cannot read the file: Too many levels of symbolic links$"),
        ("dangling", "^file not found$"),
        ("/dev/zero", "^cannot read the file: it is a device$"),
        ("/dev/stdin", "^cannot read the file: |^file not found|^no permission"),
        ("/proc/self/environ", "^cannot read the file: it belongs to the operating system$"),
        ("/proc/kmsg", "^cannot read the file: it belongs to the operating system$|^no permission"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "^cannot read the file: it belongs to|^file not found$"),
    ],
)
@pytest.mark.timeout(30)
def test_only_regular_files_are_opened(special: Callable[[str], str], kind: str, reason: str) -> None:
    path = special(kind)
    with pytest.raises(QpertError, match=reason):
        read_photo(path)
    if kind in ("pipe", "socket", "folder", "/dev/zero"):
        with pytest.raises(QpertError, match=reason):  # nor as a tar or Parquet file
            read_photo(f"file://{path}#a.jpg")


def test_reading_stays_within_the_size_limit(tmp_path: Path) -> None:
    rules = SourceRules(max_bytes=100)
    (tmp_path / "fits.jpg").write_bytes(b"x" * 100)
    assert len(read_photo(f"{tmp_path}/fits.jpg", rules)) == 100
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(3 * 2**40)
    with pytest.raises(QpertError, match=r"^file too large: 3298534883328 bytes, limit 1073741824$"):
        read_photo(f"{tmp_path}/sparse.jpg")
    (tmp_path / "large.jpg").write_bytes(b"x" * 101)
    for uri in (f"{tmp_path}/large.jpg", f"file://{tmp_path}/large.jpg"):
        with pytest.raises(QpertError, match=r"^file too large: 101 bytes, limit 100$"):
            read_photo(uri, rules)


def test_a_file_that_grows_while_it_is_read_stays_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 10)
    seen = os.fstat

    def grown(descriptor: int) -> os.stat_result:
        info = seen(descriptor)
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        return info

    monkeypatch.setattr("pipeline.datasets.photos.access.os.fstat", grown)
    with pytest.raises(QpertError, match=r"^file too large: "):
        read_file(str(path), SourceRules(max_bytes=100))


def test_a_root_confines_local_paths_with_links_resolved(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "root-2").mkdir()
    (root / "in" / "a.jpg").write_bytes(b"in")
    for name in ("secret.jpg", "root-2/b.jpg"):
        (tmp_path / name).write_bytes(b"out")
    (root / "link.jpg").symlink_to("../secret.jpg")
    (root / "folder").symlink_to(tmp_path)
    (root / "fine.jpg").symlink_to("in/a.jpg")
    (tmp_path / "into").symlink_to(root)
    rules = SourceRules(root=str(tmp_path / "into"))
    for name in ("in/a.jpg", "fine.jpg", "in/../in/a.jpg"):
        assert read_photo(f"{root}/{name}", rules) == b"in"
    for name in ("link.jpg", "folder/secret.jpg", "../secret.jpg", "in/../../secret.jpg", "../root-2/b.jpg"):
        for uri in (f"{root}/{name}", f"file://{root}/{name}"):
            with pytest.raises(QpertError, match=r"^outside of --root$"):
                read_photo(uri, rules)
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(QpertError, match=r"^outside of --root$"):
        check_place(f"{tmp_path}/x.tar", rules)
    with pytest.raises(QpertError, match=r"^outside of --root$"):
        read_photo(f"file://{tmp_path}/x.tar#a.jpg", rules)


def test_a_link_that_is_changed_after_the_check_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"out")
    (tmp_path / "root" / "a.jpg").write_bytes(b"in")
    opened = os.open

    def swapped(path: str, flags: int) -> int:
        (tmp_path / "root" / "a.jpg").unlink()
        (tmp_path / "root" / "a.jpg").symlink_to("../secret.jpg")
        return opened(path, flags)

    monkeypatch.setattr("pipeline.datasets.photos.access.os.open", swapped)
    with pytest.raises(QpertError, match=r"^outside of --root$"):
        read_file(f"{tmp_path}/root/a.jpg", SourceRules(root=str(tmp_path / "root")))


@pytest.mark.timeout(30)
def test_a_file_that_becomes_a_pipe_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"in")
    opened = os.open

    def swapped(path: str, flags: int) -> int:
        (tmp_path / "a.jpg").unlink()
        os.mkfifo(tmp_path / "a.jpg")
        return opened(path, flags)

    monkeypatch.setattr("pipeline.datasets.photos.access.os.open", swapped)
    with pytest.raises(QpertError, match=r"named pipe$"):
        read_file(f"{tmp_path}/a.jpg", DEFAULT_RULES)


@pytest.mark.parametrize("value", ["127.0.0.1:9", "http://[::1]:9", "169.254.169.254", "localhost:9000", "0x7f000001"])
def test_a_bucket_at_a_local_address_must_be_allowed(value: str) -> None:
    uri = f"s3://bucket/a.jpg?region=x&endpoint_override={value}&scheme=http"
    for place in (uri, uri.replace("a.jpg", "a.tar") + "#x.jpg"):
        with pytest.raises(QpertError, match=r"^address not public"):
            read_photo(place)


@pytest.mark.parametrize(
    "value", ["", "::1", "8.8.8.8@localhost", "8.8.8.8#@[::1]", "8.8.8.8\\@h", "http://", "h:99999999"]
)
def test_an_ambiguous_server_is_refused(value: str) -> None:
    with pytest.raises(QpertError, match=r"^endpoint_override is not a host$"):
        read_photo(f"s3://bucket/a.jpg?region=x&endpoint_override={quote(value)}")


def test_hosts_of_a_uri() -> None:
    assert list(hosts_of("s3://bucket/k?endpoint_override=http://minio:9000&scheme=http")) == ["bucket", "minio"]
    assert list(hosts_of("/local")) == []
    assert list(hosts_of("http://H:80/x")) == ["h"]


def test_any_exception_while_reading_becomes_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    for error in (
        MemoryError(),
        RecursionError("deep"),
        ImportError("no package"),
        KeyError("x"),
        OSError("ill\nvery"),
    ):

        def fail(*_: object, error: Exception = error) -> bytes:
            raise error

        monkeypatch.setattr("pipeline.datasets.photos.reading.read_file", fail)
        with pytest.raises(QpertError, match=rf"^cannot read the file: {type(error).__name__}") as caught:
            read_photo(f"{tmp_path}/a.jpg")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr("pipeline.datasets.photos.reading.read_file", lambda *_: threading.main_thread() and 1 / 0)
    with pytest.raises(QpertError, match="ZeroDivisionError"):
        read_photo("x")

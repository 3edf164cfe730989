"""File operations on an S3 server that fails: what is asked how often, what is waited for, and what comes out."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tenacity
from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.checkpoint import has_checkpoint
from pipeline.features.marks import Marks, add_marks
from pipeline.features.store import FeatureStore
from pipeline.features.tokens import TokenFiles
from pipeline.io import retrying, storage_waits
from pipeline.io.locations import Folder, locate
from pipeline.io.storage_waits import StorageAnswers, StorageEvent, StorageWaits
from tests.buckets.faulty_proxy import Fault, FaultyProxy, Request, faulty_proxy, wait_until
from tests.buckets.s3_server import S3Server

pytestmark = pytest.mark.cluster
DATA = bytes(range(256)) * 4096
BIG = DATA * 12
"""More than one part of an upload, which has 10 MB."""


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy that is what ``s3://`` means, and waits that take no time."""
    with faulty_proxy(s3.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    pause = tenacity.nap.time.sleep
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: pause(min(seconds, 0.02)))


@pytest.fixture
def events() -> Iterator[list[StorageEvent]]:
    heard: list[StorageEvent] = []
    before = storage_waits.listen(heard.append)
    yield heard
    storage_waits.listen(before)


def put(s3: S3Server, name: str, data: bytes = DATA) -> str:
    s3.client().put_object(Bucket="bucket", Key=name, Body=data)
    return f"s3://bucket/{name}"


def read(uri: str) -> bytes:
    filesystem, path = locate(uri)
    with filesystem.open_input_file(path) as file:
        return bytes(file.read())


def write(uri: str, data: bytes) -> None:
    filesystem, path = locate(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("fault", ["503", "slow down", "reset", "half"])
def test_a_photo_is_read_whole_whatever_happens_on_the_way(
    s3: S3Server, proxy: FaultyProxy, events: list[StorageEvent], fault: Fault
) -> None:
    uri = put(s3, "photo.jpg")
    proxy.fail(fault, 3, "GET")
    assert read(uri) == DATA
    # One layer retries: 3 failures cost 3 requests more. After a reset curl itself may ask once more.
    assert proxy.count("GET") in ({4} if fault != "reset" else {4, 5})
    assert sum(isinstance(event, StorageWaits) for event in events) in ({3} if fault != "reset" else {1, 2, 3})
    assert isinstance(events[-1], StorageAnswers)


@pytest.mark.usefixtures("quickly")
def test_a_large_file_goes_on_where_reading_broke_off(s3: S3Server, proxy: FaultyProxy) -> None:
    filesystem, path = locate(put(s3, "large", BIG))
    with filesystem.open_input_file(path) as file:
        first = file.read(len(DATA))
        proxy.fail("half", 1, "GET")
        rest = b"".join(iter(lambda: file.read(len(DATA)), b""))
    assert first + rest == BIG
    assert proxy.count("GET") == len(BIG) // len(DATA) + 1


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("fault", ["503", "slow down", "reset", "lost answer"])
@pytest.mark.parametrize("data", [b"small", BIG], ids=["one request", "parts"])
def test_a_file_is_written_whole_and_once(s3: S3Server, proxy: FaultyProxy, fault: Fault, data: bytes) -> None:
    proxy.fail(fault, 2, "PUT", "/written")
    write("s3://bucket/written", data)
    assert s3.client().get_object(Bucket="bucket", Key="written")["Body"].read() == data
    assert s3.names("bucket", "written") == ["written"]
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket="bucket", Prefix="written")
    requests = proxy.count("PUT", "/written")
    assert requests <= (3 if data != BIG else 6)


@pytest.mark.usefixtures("quickly")
def test_a_file_in_parts_exists_only_when_all_of_it_is_there(s3: S3Server, proxy: FaultyProxy) -> None:
    """An upload whose last request never comes through; what it leaves is not an object."""
    proxy.fault = lambda request: "503" if request.method == "POST" and "uploadId" in request.query else None
    thread = threading.Thread(target=write, args=("s3://bucket/parts", BIG))
    thread.start()
    wait_until(lambda: sum("uploadId" in request.query for request in proxy.requests if request.fault) >= 2)
    assert s3.names("bucket", "parts") == []
    proxy.fault = lambda request: None
    thread.join(30)
    assert s3.client().get_object(Bucket="bucket", Key="parts")["Body"].read() == BIG


@pytest.mark.usefixtures("quickly")
def test_a_file_replaced_in_one_step_is_the_old_or_the_new_one(s3: S3Server, proxy: FaultyProxy) -> None:
    folder = Folder.open("s3://bucket/set")
    folder.write_atomically("a.json", b"old")
    assert [request.method for request in proxy.requests] == ["PUT"]
    for fault in ("503", "reset", "lost answer"):
        proxy.fail(fault, 1, "PUT", "/set/a.json")
        folder.write_atomically("a.json", fault.encode())
        assert folder.read("a.json") == fault.encode()
    assert s3.names("bucket", "set/") == ["set/a.json"]


@pytest.mark.parametrize("after", [b"new", b"new" * 1000], ids=["shorter", "longer"])
def test_a_file_that_is_replaced_while_it_is_read_is_the_new_one(
    s3: S3Server, proxy: FaultyProxy, after: bytes
) -> None:
    folder = Folder.open("s3://bucket/read")
    folder.write_atomically("a.json", b"old" * 100)

    def replace(request: Request) -> None:
        """Between the request for the size and that for the bytes."""
        if request.method == "GET":
            put(s3, "read/a.json", after)

    proxy.fault = replace
    assert folder.read("a.json") == after


CHANGES: dict[str, Callable[[fs.FileSystem, str], None]] = {
    "move": lambda files, root: files.move(f"{root}/old/a", f"{root}/new/a"),
    "copy": lambda files, root: files.copy_file(f"{root}/old/a", f"{root}/new/a"),
    "delete file": lambda files, root: files.delete_file(f"{root}/old/a"),
    "delete folder": lambda files, root: files.delete_dir(f"{root}/old"),
    "delete contents": lambda files, root: files.delete_dir_contents(f"{root}/old"),
}
"""What is done by several requests each; any of them may fail, and some cannot be done twice."""


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("fault", ["503", "reset", "half", "lost answer"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_whichever_of_its_requests_fails(
    s3: S3Server, proxy: FaultyProxy, change: str, fault: Fault
) -> None:
    filesystem, _ = locate("s3://bucket/changed")

    def left(root: str, faulty: int) -> tuple[list[str], int]:
        """What is there after the change, and how many requests it took, when this one of them fails."""
        for name in ("old/a", "old/b", "new/x"):
            put(s3, f"{root}/{name}", b"x")
        before = len(proxy.requests)
        proxy.fault = lambda request: fault if len(proxy.requests) - before == faulty else None
        CHANGES[change](filesystem, f"bucket/{root}")
        names = [name.removeprefix(f"{root}/") for name in s3.names("bucket", f"{root}/") if not name.endswith("/")]
        return names, len(proxy.requests) - before

    root = f"changed/{change}/{fault}"
    wanted, requests = left(f"{root}/none", -1)
    assert [left(f"{root}/{faulty}", faulty)[0] for faulty in range(requests)] == [wanted] * requests


@pytest.mark.usefixtures("quickly")
def test_a_file_far_down_is_written_though_every_other_request_fails(s3: S3Server, proxy: FaultyProxy) -> None:
    """Folders that are made first take no requests: markers for all of them would have to succeed in one try."""
    filesystem, path = locate("s3://bucket/down/a/b/c/d")
    proxy.fault = lambda request: "503" if len(proxy.requests) % 2 == 0 else None
    filesystem.create_dir(path, recursive=True)
    write("s3://bucket/down/a/b/c/d/file", DATA)
    assert [request.method for request in proxy.requests] == ["PUT", "PUT"]
    assert s3.names("bucket", "down/") == ["down/a/b/c/d/file"]


@pytest.mark.usefixtures("quickly")
def test_the_folder_of_a_checkpoint_exists_before_anything_is_committed(proxy: FaultyProxy) -> None:
    """Or Ray would encode again what an earlier run has done, whose features alone are left."""
    store = FeatureStore(Folder.open("s3://bucket/begun"))
    name = store.checkpoint("f")
    assert store.ray_filesystem().get_file_info(name).type == fs.FileType.Directory
    assert not has_checkpoint(store.folder)


@pytest.mark.usefixtures("quickly")
def test_marks_that_cannot_be_read_now_are_not_taken_for_damaged(proxy: FaultyProxy) -> None:
    """Damaged ones are deleted by the next run, and worked out again."""
    folder = Folder.open("s3://bucket/marked")
    rows = pa.table({"file": ["a.parquet"], "image_id": ["1"], "reason": ["gone"]})
    add_marks(folder, "removed", rows)
    proxy.fault = lambda request: "403" if request.method != "PUT" and "/removed/" in request.path else None
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        Marks.read(folder, "removed")


@pytest.mark.usefixtures("quickly")
def test_tokens_that_cannot_be_read_now_are_not_taken_for_lost(proxy: FaultyProxy) -> None:
    tokens = TokenFiles(Folder.open("s3://bucket/tokens"))
    name = f"{'a' * 32}.safetensors"
    with pytest.raises(QpertError, match="it does not exist; index again"):
        tokens.read(name)
    proxy.outage = "403"
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        tokens.read(name)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("fault", ["503", "half", "reset"])
def test_listings_are_whole(s3: S3Server, proxy: FaultyProxy, fault: Fault) -> None:
    for number in range(5):
        put(s3, f"listed/{number}", b"x")
    proxy.fail(fault, 2, "GET")
    assert len(Folder.open("s3://bucket/listed").files()) == 5


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("call", ["read", "write", "list"])
def test_what_is_forbidden_or_missing_is_said_at_once(
    proxy: FaultyProxy, events: list[StorageEvent], call: str
) -> None:
    calls: dict[str, Callable[[str], object]] = {
        "read": read,
        "write": lambda uri: write(uri, b"x"),
        "list": lambda uri: Folder.open(uri).files(),
    }
    if call != "list":
        with pytest.raises(OSError, match=r"NO_SUCH_BUCKET|does not exist"):
            calls[call]("s3://no-such-bucket/name")
    proxy.outage = "403"
    proxy.requests.clear()
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        calls[call]("s3://bucket/name")
    assert len(proxy.requests) == 1
    assert not events


def test_an_outage_is_waited_through_and_said(
    s3: S3Server, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds stand for minutes."""
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(storage_waits, "SAID_AFTER", 0.5)
    monkeypatch.setattr(storage_waits, "_log", storage_waits._Log())
    uri = put(s3, "patience")
    proxy.outage = "503"
    threading.Timer(2.5, lambda: setattr(proxy, "outage", None)).start()
    with caplog.at_level(logging.WARNING):
        assert read(uri) == DATA
    assert 10 < proxy.count("HEAD") < 60  # far more than six tries, and no storm of them
    assert caplog.messages == ["the store answers 503; waiting, 1st minute of 10, nothing is lost"]


def test_an_outage_that_does_not_end_is_given_up_in_time(
    s3: S3Server, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PATIENCE", 1.0)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.2)
    uri = put(s3, "given-up")
    proxy.outage = "reset"
    started = time.monotonic()
    with pytest.raises(OSError, match="NETWORK_CONNECTION") as raised:
        read(uri)
    assert 1.0 <= time.monotonic() - started < 4
    assert retrying.was_retried(raised.value)


def test_a_store_that_never_answers_does_not_hold_anybody_up(s3: S3Server, proxy: FaultyProxy) -> None:
    uri = put(s3, "hanging")
    proxy.fail("hang", 1, "GET")
    started = time.monotonic()
    assert read(uri) == DATA
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("quickly")
def test_the_client_of_a_file_system_that_was_sent_elsewhere_does_not_retry_either(
    s3: S3Server, proxy: FaultyProxy, events: list[StorageEvent]
) -> None:
    """pyarrow forgets the strategy of an S3 file system when it is pickled."""
    uri = put(s3, "sent")
    filesystem, path = locate(uri)
    sent: fs.FileSystem = pickle.loads(pickle.dumps(filesystem))
    assert sent == filesystem
    proxy.fail("503", 2, "HEAD")
    assert sent.get_file_info(path).size == len(DATA)
    assert proxy.count("HEAD") == 3
    assert len(events) == 3


@pytest.mark.usefixtures("quickly")
def test_parquet_comes_through(s3: S3Server, proxy: FaultyProxy) -> None:
    """A third of all requests fail, in every way."""
    faults: list[Fault | None] = ["503", None, None, "half", None, None, "reset", None, None, "lost answer", None, None]
    turns = iter(range(10**6))
    proxy.fault = lambda request: faults[next(turns) % len(faults)]
    table = pa.table({"image_id": [f"{number:06}" for number in range(20_000)], "data": [b"x" * 100] * 20_000})
    filesystem, path = locate("s3://bucket/table.parquet")
    pq.write_table(table, path, filesystem=filesystem, row_group_size=2_000)
    assert pq.read_table(path, filesystem=filesystem).equals(table)

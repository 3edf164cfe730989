"""One writer in a bucket, beside an S3 server: who is refused, who takes over, and who finds out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.io import bucket_lock
from pipeline.io.bucket_lock import BucketLock, NoConditionsError
from pipeline.io.locations import Folder
from tests.buckets.faulty_proxy import Fault, Request, faulty_proxy
from tests.buckets.s3_server import S3Server

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]


@pytest.fixture
def out(s3: S3Server, request: pytest.FixtureRequest) -> str:
    return s3.make_bucket(f"locked-{abs(hash(request.node.name))}") + "/out"


def says(s3: S3Server, out: str) -> dict[str, Any]:
    answer = s3.client().get_object(Bucket=out.split("/")[2], Key="out/.lock")
    return dict(json.loads(answer["Body"].read()))


def rewrite(s3: S3Server, out: str, **changes: object) -> None:
    s3.client().put_object(Bucket=out.split("/")[2], Key="out/.lock", Body=json.dumps(says(s3, out) | changes))


def test_a_second_writer_is_refused_until_the_first_has_ended(s3: S3Server, out: str) -> None:
    for _ in range(2):
        with Folder.open(out).exclusive():
            with (
                pytest.raises(QpertError, match=rf"another run is writing to {out} \(process {os.getpid()} on"),
                Folder.open(out).exclusive(),
            ):
                pass
            assert not says(s3, out).get("free")
        assert says(s3, out)["free"]


@pytest.mark.parametrize("taken_over", [False, True])
def test_it_is_taken_though_the_answer_was_lost(
    s3: S3Server, out: str, monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    if taken_over:
        with Folder.open(out).exclusive():
            pass
    with faulty_proxy(s3.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        writes = 0

        def lose(request: Request) -> Fault | None:
            nonlocal writes
            writes += request.method == "PUT"
            return "lost answer" if request.method == "PUT" and writes == 1 + taken_over else None

        proxy.fault = lose
        with Folder.open(out).exclusive():
            assert not says(s3, out).get("free")


def test_a_killed_writer_of_this_machine_is_followed_at_once(out: str) -> None:
    program = "import sys, time\nfrom pipeline.io.locations import Folder\nwith Folder.open(sys.argv[1]).exclusive():\n"
    program += "    print('held', flush=True)\n    time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", program, out], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(QpertError, match=f"process {holder.pid} on"), Folder.open(out).exclusive():
            pass
    finally:
        holder.kill()
        holder.wait()
    with Folder.open(out).exclusive():
        pass


def test_a_writer_elsewhere_counts_as_dead_after_a_while_and_stops_when_it_comes_back(
    s3: S3Server, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = BucketLock(out)
    first.acquire()
    rewrite(s3, out, machine="another", host="far")  # as if a writer over there had made it, and was silent from now on
    second = BucketLock(out)
    with pytest.raises(QpertError, match=r"another run is writing to .* on far, seen \d seconds ago"):
        second.acquire()
    monkeypatch.setattr(bucket_lock, "STALE", 1.0)
    time.sleep(2.5)  # the store counts in seconds
    second.acquire()
    with pytest.raises(QpertError, match=f"process {os.getpid()} on .* has taken over .* it stops"):
        first.check()
    second.check()
    first.release()
    assert says(s3, out)["token"] == second._says["token"]
    second.release()


def test_what_counts_is_not_changed_without_the_lock(s3: S3Server, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.open(out)
    with folder.exclusive():
        folder.write_atomically("a", b"mine")
        rewrite(s3, out, token="another", host="far")
        monkeypatch.setattr(bucket_lock, "STALE", 0.0)  # as if it had not been renewed for long
        for change in (
            lambda: folder.write_atomically("a", b"late"),
            lambda: folder.delete("a"),
            lambda: folder.subfolder("features").write_atomically("b", b"late"),
        ):
            with pytest.raises(QpertError, match="on far has taken over"):
                change()
        Folder.open(f"{out}-2").write_atomically("a", b"elsewhere")
        assert folder.read("a") == b"mine"


def test_of_many_takers_one_succeeds(s3: S3Server, out: str) -> None:
    with Folder.open(out).exclusive():
        pass
    barrier = threading.Barrier(8)

    def take(_: int) -> BucketLock | None:
        lock = BucketLock(out)
        barrier.wait()
        try:
            lock.acquire()
        except QpertError:
            return None
        return lock

    with ThreadPoolExecutor(8) as pool:
        winners = [lock for lock in pool.map(take, range(8)) if lock is not None]
    assert len(winners) == 1
    winners[0].release()


def test_a_lock_is_renewed_and_survives_an_answer_that_was_lost(
    s3: S3Server, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_lock, "HEARTBEAT", 0.1)
    lock = BucketLock(out)
    lock.acquire()
    deadline = time.monotonic() + 20
    while says(s3, out)["beat"] < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert says(s3, out)["beat"] >= 3
    with lock._mutex:
        lock._etag = '"of an earlier beat"'
    lock._renew()
    lock.check()
    assert not lock.lost
    lock.release()


def test_a_store_without_conditions_is_told_apart(
    out: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock = BucketLock(out)
    plain = lock._bucket.client.put_object
    monkeypatch.setattr(
        lock._bucket.client, "put_object", lambda Bucket, Key, Body, **_: plain(Bucket=Bucket, Key=Key, Body=Body)
    )
    with pytest.raises(NoConditionsError):
        lock.acquire()

    def refuse(self: BucketLock) -> None:
        raise NoConditionsError

    monkeypatch.setattr(BucketLock, "acquire", refuse)
    for _ in range(2):
        with Folder.open(out).exclusive():
            pass
    assert [record.message for record in caplog.records if "cannot be locked" in record.message] == [
        f"{out} cannot be locked: its store is not S3, or has no conditional writes. Nothing keeps a second run from"
        " writing there: start one at a time"
    ]

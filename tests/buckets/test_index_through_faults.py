"""Index runs from a bucket to a bucket whose store fails: nothing is lost, nothing is there twice, and it is said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from tests.buckets.faulty_proxy import Fault, FaultyProxy, faulty_proxy, wait_until
from tests.buckets.s3_server import ROOT, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.ray]


def index(source: str, out: str, endpoint: str, patience: str = "60") -> subprocess.Popen[str]:
    """`qpert index` in a process of its own, with small files."""
    command = [sys.executable, "-m", "jobs", "index", source, "--out", out, "--detector", "none", "--block-size", "8"]
    command += ["--perturbation", "none", "--file-size", "8", "--encode-actors", "1"]
    environment = {"AWS_ENDPOINT_URL": endpoint, "QPERT_STORAGE_PATIENCE": patience, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True)


def ids(out: str) -> list[str]:
    """The ids of the rows that count, and of those in the files, which must be the same."""
    found: list[str] = FeatureSet.open(out).dataset.to_table(columns=["image_id"])["image_id"].to_pylist()
    return sorted(found)


@pytest.mark.timeout(180)
def test_a_run_through_an_outage_and_faults_of_all_kinds(
    s3: S3Server, tmp_path: Path, make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 64)
    source = s3.upload(tmp_path / "photos", "bucket", "shaky/photos")
    kinds: list[Fault] = ["503", "slow down", "reset", "half", "lost answer"]
    faults = cycle([fault for kind in kinds for fault in (kind, None, None, None, None)])
    with faulty_proxy(s3.url) as proxy:

        def now_and_then(proxy: FaultyProxy) -> None:
            proxy.fault = lambda request: next(faults)

        now_and_then(proxy)
        run = index(source, "s3://bucket/shaky/out", proxy.url)
        reading = threading.Thread(target=lambda: wait_until(lambda: proxy.count("PUT", "/features/") >= 2, 100))
        reading.start()
        reading.join()
        proxy.outage = "503"
        # A log gets a line every ten seconds, and a wait is worth one after five.
        threading.Timer(22.0, lambda: setattr(proxy, "outage", None)).start()
        out, said = run.communicate(timeout=150)
        assert run.returncode == 0, said[-3000:]
        faulty = Counter(request.fault for request in proxy.requests)
        assert all(faulty[fault] for fault in ("503", "reset", "half", "lost answer")), faulty
    assert "the store answers 503; waiting, 1st minute of 1, nothing is lost" in said
    assert "requests tried again; the longest wait was 0:" in out
    assert ids("s3://bucket/shaky/out") == names

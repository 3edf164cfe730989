"""A local folder to work in for an output in a bucket: what is copied where, and what happens when the work is cut."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.experiments import mirror
from pipeline.experiments.mirror import working_folder
from tests.buckets.s3_server import S3Server

pytestmark = pytest.mark.cluster
BUCKET = "mirrored"


@pytest.fixture
def out(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    s3.make_bucket(BUCKET)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def there(s3: S3Server, out: str) -> Callable[[], dict[str, str]]:
    """What is in the bucket."""

    def read() -> dict[str, str]:
        prefix = out.removeprefix(f"s3://{BUCKET}/") + "/"
        names = [name for name in s3.names(BUCKET, prefix) if not name.endswith(("/", ".lock"))]
        bodies = [s3.client().get_object(Bucket=BUCKET, Key=name)["Body"].read().decode() for name in names]
        return dict(zip((name.removeprefix(prefix) for name in names), bodies, strict=True))

    return read


def write(folder: str, **files: str) -> None:
    for name, text in files.items():
        path = Path(folder, name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_is_written_is_in_the_bucket_in_the_end(
    out: str, there: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with working_folder(out, None) as folder:
        write(folder, a="1", deep__er__b="2", c="3", x__tune__record="pickles")
    assert there() == {"a": "1", "deep/er/b": "2", "c": "3", "x/tune/record": "pickles"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    with working_folder(out, None) as folder:
        assert not Path(folder, "x").exists()  # it is not opened where it was not made
        assert Path(folder, "deep/er/b").read_text() == "2"
        write(folder, a="1 changed")
        Path(folder, "c").unlink()
    assert there() == {"a": "1 changed", "deep/er/b": "2", "x/tune/record": "pickles"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with working_folder(out, None) as folder:
        assert Path(folder, "a").read_text() == "1 changed"
        assert not Path(folder, "c").exists()
        assert Path(folder, "x/tune/record").read_text() == "pickles"


def test_work_that_is_cut_is_copied_as_far_as_it_came(
    out: str, there: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_EVERY", 0.1)

    def work() -> None:
        with working_folder(out, None) as folder:
            write(folder, a="1")
            deadline = time.monotonic() + 20
            while not there() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert there() == {"a": "1"}  # while the work goes on
            write(folder, b="2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert there() == {"a": "1", "b": "2"}
    with monkeypatch.context() as killed:
        killed.setattr(mirror.Mirror, "push", lambda self: None)
        with working_folder(out, None) as folder:
            write(folder, c="3")
    assert "c" not in there()
    with working_folder(out, None) as folder:
        assert Path(folder, "c").read_text() == "3"
    assert there()["c"] == "3"


def test_one_run_at_a_time_and_on_this_machine(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with working_folder(str(tmp_path / "here"), "auto") as folder:
        assert folder == str(tmp_path / "here")
    with working_folder(out, None, dry_run=True) as folder:
        assert not os.path.exists(folder)
    with (
        working_folder(out, None),
        pytest.raises(QpertError, match="another run is writing to"),
        working_folder(out, None),
    ):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(QpertError, match="which the nodes of a cluster do not see"), working_folder(out, None):
        pass

"""Every verb on a bucket, beside moto's server: `python -m tests.buckets.verbs [STEP ...]` (a quarter of an hour).

Photos, features, indexes and reports are in buckets only, and all that this process sees of them is through boto3 and
the commands' output. A step that goes wrong ends the script, with the output of its command.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.scenes import write_scenes
from tests.buckets.s3_server import ROOT, S3Server, s3_server

COUNT = 40
INDEX = ["--encoder", "coca", "--detector", "miniature", "--cpus", "2"]


class Trial:
    """A server with photos in it, and the verbs.

    Args:
        server: holds nothing yet but its bucket.
        scratch: a local folder.
    """

    def __init__(self, server: S3Server, scratch: Path) -> None:
        self.server, self.scratch, self.client = server, scratch, server.client()
        self.captions = write_scenes(scratch / "scenes", COUNT, 1)
        self.images = scratch / "scenes" / "images"
        self.photos = server.upload(self.images, "bucket", "photos")
        names = sorted(path.name for path in self.images.iterdir())
        self.put("list.txt", "\n".join(f"s3://bucket/photos/{name}" for name in names[:20]).encode())
        table = pa.table({"id": names, "image": [(self.images / name).read_bytes() for name in names]})
        for part in range(2):
            sink = io.BytesIO()
            pq.write_table(table.slice(part * 20, 20), sink)
            self.put(f"parquet/{part}.parquet", sink.getvalue())
            sink = io.BytesIO()
            with tarfile.open(fileobj=sink, mode="w") as tar:
                for name in names[part * 20 : part * 20 + 20]:
                    tar.add(self.images / name, name)
            self.put(f"tars/{part}.tar", sink.getvalue())

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="bucket", Key=key, Body=data)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | self.server.environment() | {"PYTHONPATH": str(ROOT)}

    def qpert(self, *words: str, code: int = 0, says: str = "") -> str:
        """Runs a command; returns its output, which must match `says`."""
        command = [sys.executable, "-m", "jobs", *words]
        started = time.monotonic()
        done = subprocess.run(command, env=self.environment, cwd=self.scratch, capture_output=True, text=True)
        output = done.stdout + done.stderr
        print(f"  qpert {' '.join(words)}: {time.monotonic() - started:.1f} s", flush=True)
        if done.returncode != code or not re.search(says, output, re.DOTALL):
            raise SystemExit(f"exit code {done.returncode}, expected {code} and {says!r}:\n{output[-6000:]}")
        return output

    def index(self) -> None:
        """Folder, killed half-way, resumed, nothing to do, added, changed, removed, pruned."""
        words = ["index", self.photos, "--out", "s3://bucket/features", *INDEX]
        run = subprocess.Popen(
            [sys.executable, "-m", "jobs", *words, "--file-size", "8", "--block-size", "8"],
            env=self.environment,
            cwd=self.scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not any(name.endswith(".parquet") for name in self.server.names("bucket", "features/features/")):
            if run.poll() is not None:
                raise SystemExit("the run ended before it could be killed")
            time.sleep(0.02)
        self.qpert(*words, code=2, says="another run is writing to s3://bucket/features .process")
        run.send_signal(signal.SIGKILL)
        run.wait()
        self.qpert(*words, says=f"{COUNT} photos")
        self.qpert(*words, says="nothing")
        first = sorted(self.images.iterdir())[0]
        self.put("photos/new.jpg", first.read_bytes())
        self.put("photos/000001.jpg", first.read_bytes())
        self.client.delete_object(Bucket="bucket", Key="photos/000002.jpg")
        self.qpert(*words, "--prune")
        self.qpert("verify", "s3://bucket/features", says="40 photos")
        for name in ("000001.jpg", "000002.jpg"):
            self.put(f"photos/{name}", (self.images / name).read_bytes())
        self.client.delete_object(Bucket="bucket", Key="photos/new.jpg")
        self.qpert(*words, "--prune")
        self.qpert("compact", "s3://bucket/features")

    def sources(self) -> None:
        """A list, Parquet, tars and a pattern."""
        for source, count in (("list.txt", 20), ("parquet", 40), ("tars", 40), ("photos/00000*.jpg", 10)):
            out = f"s3://bucket/of-{source.partition('.')[0].partition('/')[0]}-{count}"
            self.qpert("index", f"s3://bucket/{source}", "--out", out, *INDEX)
            self.qpert("index", f"s3://bucket/{source}", "--out", out, *INDEX, says="nothing to do|indexed 0 photos")
            self.qpert("verify", out, says=f"{count} photos")

    def search(self) -> None:
        """By texts and photos, exactly and by an index; exports; duplicates."""
        self.qpert("index", self.photos, "--out", "s3://bucket/features", *INDEX)
        plain = self.qpert("search", "s3://bucket/features", "a small red star", "--json", says="000")
        self.qpert("search", "s3://bucket/features", "--image", "s3://bucket/photos/000003.jpg", says="000003.jpg")
        self.qpert("search", "s3://bucket/features", "a star", "--html", str(self.scratch / "found.html"))
        self.qpert("build-index", "s3://bucket/features")
        assert self.server.names("bucket", "features/search/")
        again = self.qpert("search", "s3://bucket/features", "a small red star", "--json", says="000")
        assert [hit["image_id"] for hit in found(plain)] == [hit["image_id"] for hit in found(again)]
        self.qpert("duplicates", "s3://bucket/features")
        self.qpert("export", "s3://bucket/features", "--to", "npy", "--out", "s3://bucket/vectors")
        assert "vectors/export.json" in self.server.names("bucket", "vectors/")
        self.qpert("caption", "s3://bucket/photos", "--encoder", "blip2", "--limit", "2")

    def evaluate(self) -> None:
        """Recall, also after re-ranking."""
        out = "s3://bucket/blip2"
        self.qpert("index", self.photos, "--out", out, "--encoder", "blip2", "--cpus", "2")
        boxes = str(self.scratch / "scenes")
        self.qpert("evaluate", out, "--captions", str(self.captions), "--annotations", boxes, says="R@1")
        words = ["evaluate", out, "--captions", str(self.captions), "--rerank", "--rerank-k", "4"]
        self.qpert(*words, says="R@1")
        self.qpert(*words, says="photos are done")
        self.qpert("plan", self.photos, "--photos", "1000000", "--out", "s3://bucket/scratch", *INDEX)

    def tune(self) -> None:
        """A search whose results are all in the bucket, and which another machine goes on with."""
        words = ["tune", "--encoder", "coca", "--scenes", "50", "--samples", "100", "--out", "s3://bucket/tuning"]
        words += ["--scale", "0.5", "1", "--threshold", "0.9"]
        self.qpert(*words, says=r"report: s3://bucket/tuning/coca/report.md")
        assert "tuning/coca/report.md" in self.server.names("bucket", "tuning/")
        self.qpert(*words, says=r"report: s3://bucket/tuning/coca/report.md")

    def reproduce(self) -> None:
        """The paper's tables."""
        words = ["reproduce", "--encoder", "coca", "--scenes", "50", "--samples", "100", "--out", "s3://bucket/paper"]
        self.qpert(*words, "--table", "paper", says="report: s3://bucket/paper/miniature/coca/report.md")
        assert "paper/miniature/coca/report.md" in self.server.names("bucket", "paper/")

    def parts(self) -> None:
        """One set in two parts, made at the same time, and used as any other."""
        out, boxes = "s3://bucket/in-parts", str(self.scratch / "scenes")
        words = ["index", self.photos, "--out", out, "--encoder", "blip2", "--cpus", "1", "--part"]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda part: self.qpert(*words, part, says="photos"), ("1/2", "2/2")))
        self.qpert(*words, "2/2", says="nothing to do")
        self.qpert("verify", out, says=f"{COUNT} photos")
        plain = self.qpert("search", out, "a small red star", "--json", says="000")
        self.qpert("build-index", out)
        again = self.qpert("search", out, "a small red star", "--json", says="000")
        assert [hit["image_id"] for hit in found(plain)] == [hit["image_id"] for hit in found(again)]
        self.qpert("evaluate", out, "--captions", str(self.captions), "--annotations", boxes, says="R@1")
        self.qpert("evaluate", out, "--captions", str(self.captions), "--rerank", "--rerank-k", "4", says="R@1")
        self.qpert("duplicates", out)
        self.qpert("export", out, "--to", "npy", "--out", "s3://bucket/parts-vectors")
        self._serve(out)

    def serve(self) -> None:
        """A server over features in the bucket, which shows their photos."""
        self._serve("s3://bucket/features")

    def _serve(self, features: str) -> None:
        words = [sys.executable, "-m", "jobs", "serve", features, "--port", "0"]
        server = subprocess.Popen(
            words, env=self.environment, cwd=self.scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            assert server.stdout is not None
            said = ""
            for line in server.stdout:
                said += line
                if match := re.search(r"API:\s+(http://\S+)/docs", line):
                    break
            else:
                raise SystemExit(said)
            client = httpx.Client(base_url=match[1], timeout=60)
            answer = client.post("/search", json={"text": "a small red star", "k": 3}).raise_for_status().json()
            [served] = client.get("/sets").raise_for_status().json()["sets"]
            photo = client.get(f"/thumbnails/{served['name']}/{answer['results'][0]['image_id']}").raise_for_status()
            assert len(answer["results"]) == 3
            assert photo.content.startswith(b"\xff\xd8")
            print(
                f"  qpert serve: {len(answer['results'])} hits, a thumbnail of {len(photo.content):,} bytes", flush=True
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def found(output: str) -> list[dict[str, object]]:
    """The hits in the JSON of a search."""
    answer = json.loads(output[output.index("[") if output.lstrip().startswith("[") else output.index("{") :])
    return list(answer[0]["results"])


def main() -> None:
    """Run the steps that are named, or all."""
    steps: dict[str, Callable[[Trial], None]] = {
        name: getattr(Trial, name)
        for name in ("index", "sources", "search", "evaluate", "tune", "reproduce", "serve", "parts")
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(steps)}; serve needs search")
    chosen = parser.parse_args().steps or list(steps)
    with TemporaryDirectory(prefix="qpert-buckets-") as scratch, s3_server() as server:
        trial = Trial(server, Path(scratch))
        for name in chosen:
            print(f"{name}: {steps[name].__doc__}", flush=True)
            steps[name](trial)
    print("all steps went as they should")


if __name__ == "__main__":
    main()

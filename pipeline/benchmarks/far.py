"""Reading where data is far: images per second of a run from a bucket 20 ms away, against the same run from disk.

Two made-up encoders take 10 ms a photo, asleep, so that 200 photos/s of 150 kB keep them busy. The photos are the same
in folders, tars and Parquet; the features are written to disk on both sides.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from pipeline.benchmarks.far_reading import BLOCK
from pipeline.benchmarks.far_store import BUCKET, far_store
from pipeline.benchmarks.graph_alone import TrivialEncoder
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.index_run import IndexRun
from pipeline.runs.spec import IndexSpec

BYTES = 150_000
ENCODERS, SECONDS = 2, 0.010
"""Encoders, and what each takes for a photo."""
_PER_TAR, _PER_GROUP, _GROUPS = 200, 100, 4
"""Photos of a tar and of a row group, and row groups of a file."""


class MadeUpEncoder(TrivialEncoder):
    """Takes `SECONDS` a photo without using a core."""

    name = "made-up"
    vectors, dim = 1, 64

    def backbone(self, pixels: Tensor) -> Tensor:
        """[B, 1, 192]."""
        time.sleep(SECONDS * len(pixels))
        return pixels.flatten(1)[:, None]

    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """[B, 1, 64]."""
        return torch.nn.functional.normalize(tokens[:, :, :64] + 0.01, dim=-1)


def build(*, device: str, dtype: str) -> MadeUpEncoder:
    """Builds the encoder, for the encode stage."""
    return MadeUpEncoder()


@dataclass(frozen=True)
class FarCosts:
    """What reading one kind of source took, in a run or by itself.

    Attributes:
        source: photos, tars or parquet.
        what: "runs" of the graph, or "reading alone": one task of it after the other, in one process without Ray.
        photos: how many.
        delay: of every answer of the bucket, in seconds.
        near: images/s from disk.
        far: images/s from the bucket.
        requests: to the bucket, per photo.
        bytes_read: from the bucket, over the bytes of the photos.
    """

    source: str
    what: str
    photos: int
    delay: float
    near: float
    far: float
    requests: float
    bytes_read: float

    @property
    def ratio(self) -> float:
        """Speed from the bucket over speed from disk."""
        return self.far / self.near

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.source:<8} {self.what}, {self.photos:,} photos: {self.near:6.1f} images/s from disk,"
            f" {self.far:6.1f} from a"
            f" bucket {1000 * self.delay:.0f} ms away, {self.ratio:.2f} of it; {self.requests:.2f} requests a photo,"
            f" {self.bytes_read:.3f} of its bytes on the network"
        )


def write_sources(folder: Path, photos: int) -> None:
    """Writes the same photos of 150 kB as files, tars and Parquet."""
    dice = np.random.default_rng(0)
    for name in ("photos", "tars", "parquet"):
        (folder / name).mkdir(parents=True)
    data = []
    for number in range(photos):
        stream = io.BytesIO()
        Image.fromarray(dice.integers(0, 256, (8, 8, 3), np.uint8)).save(stream, "JPEG")
        # What follows the end of a JPEG is not looked at: decoding is not what is measured.
        data.append(stream.getvalue() + dice.bytes(BYTES - stream.tell()))
        (folder / "photos" / f"{number:06}.jpg").write_bytes(data[-1])
    for first in range(0, photos, _PER_TAR):
        with tarfile.open(folder / "tars" / f"{first // _PER_TAR:04}.tar", "w") as tar:
            for number in range(first, min(first + _PER_TAR, photos)):
                tar.add(folder / "photos" / f"{number:06}.jpg", f"{number:06}.jpg")
    table = pa.table({"image_id": [f"{number:06}" for number in range(photos)], "jpg": data})
    per_file = _PER_GROUP * _GROUPS
    for first in range(0, photos, per_file):
        path = folder / "parquet" / f"{first // per_file:04}.parquet"
        pq.write_table(table.slice(first, per_file), path, row_group_size=_PER_GROUP, compression="none")


def measure_far(
    folder: Path, photos: int, delay: float, sources: Sequence[str], cpus: int, *, runs: bool = True
) -> Iterator[FarCosts]:
    """Reads each source from disk and from a bucket, and indexes it if `runs`, each in a process of its own."""
    write_sources(folder / "sources", photos)
    kinds = ["reading alone", *(["runs"] if runs else [])]
    with far_store(folder / "sources", delay) as store:
        for source, kind in product(sources, kinds):
            words = (str(folder / f"features-{source}"), str(photos), str(cpus)) if kind == "runs" else ()
            near = _measured(str(folder / "sources" / source), words)
            store.counts()
            far = _measured(f"s3://{BUCKET}/{source}", words, store.url)
            counts = store.counts()
            requests = sum(number for method, number in counts.items() if method != "bytes")
            read = counts.get("bytes", 0) / (photos * BYTES)
            yield FarCosts(source, kind, photos, delay, near, far, requests / photos, read)


def _measured(source: str, words: Sequence[str], endpoint: str | None = None) -> float:
    if words:
        words = [f"{words[0]}-{'far' if endpoint else 'near'}", *words[1:]]
    module = "pipeline.benchmarks.far" if words else "pipeline.benchmarks.far_reading"
    command = [sys.executable, "-m", module, source, *words]
    store = {} if endpoint is None else {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}
    key = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, env=os.environ | key | store, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise QpertError(f"the run over {source} failed; its messages are above")
    return float(json.loads(done.stdout.splitlines()[-1]))


def run(source: str, out: str, photos: int, cpus: int) -> float:
    """Indexes, and returns images/s; `measure_far` runs it in a process of its own."""
    plain = {"detector": {"model": "none"}, "perturbation": {"preset": "none"}}
    given = {"source": source, "out": out, "cpus": cpus, "encode_actors": ENCODERS, "block_size": BLOCK, **plain}
    encoder = EncoderChoice(build, {"name": MadeUpEncoder.name}, MadeUpEncoder.vectors * MadeUpEncoder.dim)
    outcome = IndexRun(IndexSpec.model_validate(given), encoder=encoder).run()
    assert outcome.totals["photos"] == photos, outcome.totals
    assert not outcome.totals["failed"], outcome.counts.failures
    return outcome.counts.images_per_second() or 0.0


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))

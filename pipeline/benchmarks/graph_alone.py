"""The graph without models: images per second of reading, writing and bookkeeping, and whether memory stays flat.

Tiny JPEGs pass a trivial encoder whose embeddings are as long as BLIP-2's. Each run is a process of its own, whose
peak memory the kernel reports; the memory of its workers is sampled every few seconds.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.encoders.base import Encoder
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.method.objects import Objects, TokenGrid
from pipeline.method.settings import Perturbation
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.index_run import IndexRun
from pipeline.runs.spec import IndexSpec

_PER_FOLDER = 1000
_SIDE = 8


class TrivialEncoder(Encoder):
    """A random projection of a few pixels: embeddings of BLIP-2's size at almost no cost."""

    name = "trivial"
    grid = TokenGrid(image_size=_SIDE, patch=_SIDE, mode="squash")
    vectors, dim = 32, 256
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        shape = 3 * _SIDE * _SIDE, self.vectors * self.dim
        self.projection = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    @classmethod
    def load(cls, weights: str | None, device: torch.device, dtype: torch.dtype) -> TrivialEncoder:
        """Has nothing to load."""
        return cls()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Float32 [3, 8, 8]."""
        pixels = torch.from_numpy(np.array(image.resize((_SIDE, _SIDE))))
        return pixels.permute(2, 0, 1).contiguous().float() / 255

    def backbone(self, pixels: Tensor) -> Tensor:
        """[B, 1, 192]."""
        return pixels.flatten(1)[:, None]

    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """[B, 32, 256]."""
        values = (tokens[:, 0] + 0.01) @ self.projection
        return torch.nn.functional.normalize(values.reshape(-1, self.vectors, self.dim), dim=-1)

    def embed_text(
        self, texts: Sequence[str] | None = None, *, input_ids: Tensor | None = None, attention_mask: Any = None
    ) -> Tensor:
        """Is not supported."""
        raise QpertError("the trivial encoder reads no texts")

    def sites(self) -> Mapping[str, nn.Module]:
        """None."""
        return {}


def build(*, device: str, dtype: str) -> TrivialEncoder:
    """Builds the encoder, for the encode stage."""
    return TrivialEncoder()


@dataclass(frozen=True)
class Costs:
    """What one run over `photos` took.

    Attributes:
        photos: how many there were.
        driver: peak memory of the driver, in MiB.
        driver_cpu: CPU time of the driver per photo, in milliseconds.
        worker: largest memory of a worker, in MiB.
        rate: images per second once all actors were up.
        seconds: wall-clock time.
        files: Parquet files written.
        smallest: size of the smallest of them, in MB.
        largest: size of the largest, in MB.
    """

    photos: int
    driver: float
    driver_cpu: float
    worker: float
    rate: float
    seconds: float
    files: int
    smallest: float
    largest: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.photos:>9,} photos: driver {self.driver:6.0f} MiB and {self.driver_cpu:.2f} ms of CPU per photo,"
            f" largest worker {self.worker:6.0f} MiB, {self.rate:7.1f} images/s ({self.seconds:.0f} s in all),"
            f" {self.files} files of {self.smallest:.0f} to {self.largest:.0f} MB"
        )


def write_tiny(folder: Path, count: int) -> None:
    """Writes `count` JPEGs of 8 x 8 pixels and some 340 bytes, a thousand to a folder; existing ones are kept."""
    for number in range(count):
        if number % _PER_FOLDER == 0:
            inner = folder / f"{number // _PER_FOLDER:05}"
            inner.mkdir(parents=True, exist_ok=True)
        path = inner / f"{number:09}.jpg"
        if not path.exists():
            stream = io.BytesIO()
            colour = number % 256, number // 256 % 256, number // 65536 % 256
            Image.new("RGB", (_SIDE, _SIDE), colour).save(stream, "JPEG")
            path.write_bytes(stream.getvalue())


def measure_graph(folder: Path, photos: int, cpus: int | None = None) -> Costs:
    """Indexes `photos` of the tiny JPEGs in `folder`, in a process of its own."""
    command = [sys.executable, "-m", "pipeline.benchmarks.graph_alone", str(folder), str(photos), str(cpus or 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        largest = 0
        while run.poll() is None:
            time.sleep(5)
            largest = max(largest, _largest_worker(run.pid))
        said = run.stdout.read() if run.stdout else ""
    if run.returncode:
        raise QpertError(f"the run over {photos:,} tiny photos failed; its messages are above")
    return Costs(**json.loads(said.splitlines()[-1]) | {"worker": largest / 2**20})


def _largest_worker(pid: int) -> int:
    """Private memory of the largest worker below a process, in bytes; the shared object store does not count."""
    sizes = [0]
    try:
        for process in psutil.Process(pid).children(recursive=True):
            if process.name().startswith("ray::"):
                sizes.append(process.memory_full_info().uss)
    except psutil.Error:  # the process has ended
        pass
    return max(sizes)


def run(folder: str, photos: int, cpus: int | None) -> dict[str, Any]:
    """Indexes, and returns what it took; `measure_graph` runs it in a process of its own."""
    out = f"{folder.rstrip('/')}-features-{photos}"
    plain = {"detector": {"model": "none"}, "perturbation": {"preset": "none"}}
    spec = IndexSpec.model_validate({"source": folder, "out": out, "limit": photos, "cpus": cpus, **plain})
    encoder = EncoderChoice(build, {"name": TrivialEncoder.name}, TrivialEncoder.vectors * TrivialEncoder.dim)
    spent = time.process_time()
    outcome = IndexRun(spec, encoder=encoder).run()
    assert outcome.totals["photos"] == photos, outcome.totals
    sizes = [size / 1e6 for size in FeatureStore(out).file_sizes()]
    return {
        "photos": photos,
        "driver": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "driver_cpu": 1000 * (time.process_time() - spent) / photos,
        "rate": outcome.counts.images_per_second(),
        "seconds": outcome.seconds,
        "files": len(sizes),
        "smallest": min(sizes),
        "largest": max(sizes),
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None)))

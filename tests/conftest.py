"""One Ray session for the whole test run, photos to index, models small enough for any test, and ready features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ["MPLBACKEND"] = "agg"  # whatever notebook the tests are run from

pytest_plugins = ["tests.marking", "tests.buckets.fixtures"]


@pytest.fixture(scope="session")
def ray_cpu() -> Iterator[None]:
    """A Ray session of two CPUs, started for the first test that asks for it."""
    import ray

    # "local": else Ray joins any cluster that runs on this machine.
    ray.init("local", num_cpus=2, object_store_memory=200 * 1024**2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def make_photos() -> Callable[[Path, int], list[str]]:
    """Writes so many different small JPEGs into a folder and its subfolders; returns their ids."""

    def make(folder: Path, count: int) -> list[str]:
        names = []
        for index in range(count):
            name = f"{index % 3}/{index:04}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((64, 48), Image.Resampling.NEAREST).save(folder / name, quality=95)
            names.append(name)
        return sorted(names)

    return make


@pytest.fixture(scope="session")
def tiny_encoder() -> Callable[[str, str], Any]:
    """Builds an encoder of two vectors of four numbers, which depend on the pixels and on the objects' areas.

    The class is made inside the function, so that workers get it by value and need not import this file.
    """

    def build(device: str = "cpu", dtype: str = "float32") -> Any:
        import numpy as np
        import torch

        from pipeline.encoders.base import Encoder
        from pipeline.method.objects import TokenGrid

        class TinyEncoder(Encoder):
            name = "tiny"
            grid = TokenGrid(image_size=8, patch=4, mode="squash")
            vectors, dim = 2, 4
            device, dtype = torch.device("cpu"), torch.float32

            @classmethod
            def load(cls, weights: Any, device: Any, dtype: Any) -> Any:
                return cls()

            def preprocess(self, image: Any) -> torch.Tensor:
                pixels = np.asarray(image.resize((8, 8)), np.float32) / 255
                return torch.from_numpy(pixels).permute(2, 0, 1)

            def backbone(self, pixels: torch.Tensor) -> torch.Tensor:
                return pixels.flatten(2).mT[:, :5]

            def embed(self, tokens: torch.Tensor, objects: Any = None, perturbation: Any = None) -> torch.Tensor:
                vectors = tokens.flatten(1)[:, :8].reshape(-1, 2, 4) + 0.01
                if objects is not None and perturbation is not None:
                    areas = torch.tensor([float(each.areas.sum()) for each in objects])
                    vectors = vectors + areas[:, None, None] * torch.tensor([1.0, 0, 0, 0])
                return torch.nn.functional.normalize(vectors, dim=-1)

            def embed_text(self, texts: Any = None, *, input_ids: Any = None, attention_mask: Any = None) -> Any:
                raise NotImplementedError

            def sites(self) -> dict[str, Any]:
                return {}

        return TinyEncoder()

    return build


@pytest.fixture(scope="session")
def tiny_detector() -> Callable[[str], Any]:
    """Builds a detector that boxes the left part of a photo, the wider the redder its first pixel, or nothing."""

    def build(device: str = "cpu") -> Any:
        from pipeline.method.objects import Objects

        class TinyDetector:
            def detect(self, ids: Any, images: Any) -> list[Any]:
                found = []
                for image in images:
                    red = image.getpixel((0, 0))[0] / 255
                    empty = Objects.empty(image.size)
                    found.append(Objects([[0, 0, red, 1]], ["left"], [0.5], image.size) if red > 0.1 else empty)
                return found

        return TinyDetector()

    return build


@pytest.fixture(scope="session")
def run_lavis(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs `lavis_reference.py` in the environment of LAVIS on the cases given; returns the folder that it wrote.

    The environment is built as a user's would be: with nothing but a network.
    """
    if sys.version_info[:2] not in ((3, 10), (3, 11)):
        pytest.skip("LAVIS' libraries have no wheels for this Python")
    from pipeline.encoders.blip2_lavis import environment as lavis_environment

    root = Path(__file__).parents[1]

    def run(**cases: Any) -> Path:
        folder = tmp_path_factory.mktemp("lavis")
        (folder / "cases.json").write_text(json.dumps(cases))
        path = os.pathsep.join([str(lavis_environment.ensure()), str(root)])
        command = [sys.executable, str(root / "tests" / "encoders" / "blip2_lavis" / "lavis_reference.py"), str(folder)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return run


@pytest.fixture
def write_features(tmp_path: Path) -> Callable[..., Any]:
    """A function that writes a feature set without running any model, and opens it.

    `vectors` [n, V, D] are stored as they are; a photo whose id is in `failed` gets a null embedding and an error.
    `objects` holds, for each photo, dictionaries x0, y0, x1, y1, label, score; `files` is how many Parquet files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.features.feature_set import FeatureSet
    from pipeline.features.manifest import Manifest
    from pipeline.features.schema import features_schema
    from pipeline.features.store import FeatureStore

    def write(
        vectors: Any,
        ids: Sequence[str] | None = None,
        *,
        failed: Sequence[str] = (),
        objects: Sequence[list[dict[str, Any]]] | None = None,
        folder: Path | None = None,
        files: int = 1,
        precision: str = "float16",
        encoder: dict[str, Any] | None = None,
        weights: str | None = None,
        name: str = "features",
    ) -> FeatureSet:
        array = np.asarray(vectors, np.float32)
        count, v, d = array.shape
        ids = list(ids) if ids is not None else [f"{i:06d}.jpg" for i in range(count)]
        objects = list(objects) if objects is not None else [[] for _ in range(count)]
        schema = features_schema(precision)
        rows = []
        for i, image_id in enumerate(ids):
            sizes = [(o["x1"] - o["x0"]) * (o["y1"] - o["y0"]) for o in objects[i]]
            rows.append(
                {
                    "image_id": image_id,
                    "uri": str((folder or Path("/photos")) / image_id),
                    "width": 64,
                    "height": 48,
                    "objects": objects[i],
                    "largest_area": max(sizes, default=None),
                    "embedding": None if image_id in failed else array[i].ravel().astype(precision),
                    "error": "truncated image" if image_id in failed else None,
                    "device": "cpu",
                    "dtype": "float32",
                    "seconds": 0.01,
                }
            )
        out = tmp_path / name
        (out / "features").mkdir(parents=True)
        for number, part in enumerate(np.array_split(np.arange(count), files)):
            table = pa.Table.from_pylist([rows[i] for i in part], schema=schema)
            pq.write_table(table, out / "features" / f"part{number:03d}-000000.parquet")
        FeatureStore(str(out)).write_manifest(
            Manifest(
                state="complete",
                fingerprint="0" * 16,
                encoder={"name": "coca"} if encoder is None else encoder,
                config={"weights": weights},
                vectors=v,
                dim=d,
                precision=precision,
                counts={"photos": count, "failed": len(failed), "objects": sum(map(len, objects))},
            )
        )
        return FeatureSet.open(str(out))

    return write

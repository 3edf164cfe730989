"""What must not be imported where it is not needed: each of these libraries takes seconds of CPU in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.encoders import resolve_weights
from pipeline.features.fingerprint import weights_identity

MODEL_LIBRARIES = ["open_clip", "torchvision", "torch._dynamo", "transformers"]


def imported(program: str, libraries: list[str], *arguments: str) -> list[str]:
    """Those of `libraries` that a program has imported when it ends."""
    program += f"\nimport sys; print('imported', *[name for name in {libraries!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("name", ["coca", "blip2", "internvl", "internvl-c"])
def test_searching_with_a_bundled_encoder_needs_no_torch(write_features: Any, name: str) -> None:
    pytest.importorskip("onnxruntime")
    identity = weights_identity(resolve_weights(name, None))
    dim = {"blip2": 64}.get(name, 128)
    vectors = np.random.default_rng(0).normal(size=(4, 2 if name == "blip2" else 1, dim))
    features = write_features(vectors, encoder={"name": name, "weights": identity})
    search = "import sys; from jobs.cli import main; assert main(['search', sys.argv[1], 'a tiny red star']) == 0"
    heavy = ["torch", "ray", "scipy", "matplotlib", *MODEL_LIBRARIES]
    assert imported(search, heavy, features.root) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coca", "internvl", "internvl-c"])
def test_an_actor_that_detects_and_encodes_imports_torch_and_little_more(name: str) -> None:
    pytest.importorskip("ultralytics")
    actor = """
import sys
from PIL import Image
from pipeline.detectors import load_detector
from pipeline.encoders import load_encoder
from pipeline.method.settings import Perturbation

detector, encoder = load_detector("miniature", photos=500), load_encoder(sys.argv[1])
photo = Image.new("RGB", (200, 100), "navy")
photo.paste("red", (20, 20, 90, 80))
tokens = encoder.backbone(encoder.preprocess(photo)[None])
encoder.embed(tokens, detector.detect(["photo"], [photo]), Perturbation.paper())
"""
    assert imported(actor, ["scipy", "matplotlib", "polars", "sympy", *MODEL_LIBRARIES], name) == []

"""The graph without models, measured on a few tiny photos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.benchmarks.graph_alone import TrivialEncoder, measure_graph, write_tiny


def test_the_trivial_encoder_distinguishes_photos() -> None:
    encoder = TrivialEncoder()
    pixels = torch.stack([encoder.preprocess(Image.new("RGB", (9, 5), colour)) for colour in ("red", "blue", "red")])
    vectors = encoder.embed(encoder.backbone(pixels))
    assert vectors.shape == (3, 32, 256)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3, 32), atol=1e-5)
    assert torch.equal(vectors[0], vectors[2])
    assert float((vectors[0] * vectors[1]).sum(-1).max()) < 0.99


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_files_memory_and_rate_of_a_small_run(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny", 320)
    names = sorted(path.name for path in (tmp_path / "tiny").rglob("*.jpg"))
    assert (len(names), names[-1]) == (320, "000000319.jpg")
    found = measure_graph(tmp_path / "tiny", 256, cpus=2)
    assert found.photos == 256
    assert found.files >= 8
    assert 0 < found.smallest <= found.largest < 1
    assert min(found.driver, found.driver_cpu, found.worker, found.rate, found.seconds) > 0
    assert "256 photos: driver" in str(found)

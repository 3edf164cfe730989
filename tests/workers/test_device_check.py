"""How far devices differ by their embeddings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipeline.workers.device_check import DeviceCheck


def unit(*rows: tuple[float, float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)[:, None]
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_differences_are_to_the_most_exact_kind_whatever_the_order() -> None:
    exact, half = unit((1, 0), (0, 1)), unit((1, 0.1), (0, 1))
    for order in ([("A100", "bfloat16"), ("1080", "float32")], [("1080", "float32"), ("A100", "bfloat16")]):
        probes = DeviceCheck()
        for kind in order:
            probes.add(kind, exact if kind[1] == "float32" else half)
        found = probes.differences()
        assert found["1080", "float32"] == pytest.approx(0, abs=1e-6)
        assert found["A100", "bfloat16"] == pytest.approx(1 - 1 / np.sqrt(1.01), rel=1e-3)


def test_devices_of_one_kind_are_compared_too() -> None:
    probes = DeviceCheck()
    assert probes.differences() == {}
    probes.add(("A100", "bfloat16"), unit((1, 0)))
    probes.add(("A100", "bfloat16"), unit((1, 0)))
    assert probes.differences()["A100", "bfloat16"] == pytest.approx(0, abs=1e-6)
    probes.add(("A100", "bfloat16"), unit((0, 1)))
    assert probes.differences()["A100", "bfloat16"] == pytest.approx(1)


def test_processes_that_only_count_read_or_decode_do_not_load_torch() -> None:
    for module in ("pipeline.runs.run_actor", "pipeline.stages.read", "pipeline.workers.decode_in_subprocess"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, module

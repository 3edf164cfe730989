"""Made-up GPUs for whole commands: what `nvidia-smi` says and what qpert finds; models run on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FAKE_DEVICE = """
import sys
from importlib.machinery import PathFinder
class Finder:
    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path) if name == "pipeline.workers.device" else None
        if spec:
            execute = spec.loader.exec_module
            def exec_module(module):
                execute(module)
                found = module.this_device
                def this_device(gpu):
                    return module.Device("cpu", {name!r}, {capability!r}) if gpu else found(gpu)
                module.this_device = this_device
            spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True)
class FakeGpu:
    """A card that a machine says it has: Ray's label, its memory in MiB and its compute capability."""

    label: str
    memory: int
    capability: str


A100 = FakeGpu("A100", 81920, "8.0")
GTX_1080_TI = FakeGpu("GeForce-GTX-1080-Ti", 11264, "6.1")


def write_driver(folder: Path, gpu: FakeGpu, also: str = "") -> None:
    """Writes a folder for PATH and PYTHONPATH that makes processes believe in the card.

    Args:
        folder: does not exist yet.
        gpu: the card.
        also: a program that every Python process with the folder in its PYTHONPATH runs first.
    """
    folder.mkdir()
    major, _, minor = gpu.capability.partition(".")
    device = {"name": f"cuda:{gpu.label}", "capability": (int(major), int(minor))}
    (folder / "sitecustomize.py").write_text(_FAKE_DEVICE.format(**device) + also)
    answers = {"compute_cap": gpu.capability, "memory.total,compute_cap": f"{gpu.memory}, {gpu.capability}"}
    cases = [f"*--query-gpu={fields}\\ *) echo '{answer}' ;;" for fields, answer in answers.items()]
    (folder / "nvidia-smi").write_text("\n".join(["#!/bin/sh", 'case "$*" in', *cases, "esac", ""]))
    (folder / "nvidia-smi").chmod(0o755)

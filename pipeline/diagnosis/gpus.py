"""GPUs, the number format that runs choose on them, and whether the installed torch can use them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.diagnosis.finding import Finding
from pipeline.workers.device import dtype_for, runs_on

TOPIC = "GPUs"
_QUERY = ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"]
_TORCH = """
import json, torch
print(json.dumps([torch.cuda.is_available(), torch.cuda.get_arch_list()]))
"""
_CUDA = re.compile(r"^cuda\b.*?= *'([\d.]+)'", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A GPU by `nvidia-smi`.

    Attributes:
        name: by its maker.
        capability: CUDA compute capability.
        memory: in MiB.
        driver: version of the driver.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    driver: str


def find_cards() -> list[Card]:
    """The GPUs of this machine; none where `nvidia-smi` does not work."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    cards = []
    for line in done.stdout.splitlines():
        name, capability, memory, driver = [part.strip() for part in (line + ",,,").split(",")][:4]
        major, _, minor = capability.partition(".")
        if major.isdigit() and minor.isdigit():
            cards.append(Card(name, (int(major), int(minor)), int(memory) if memory.isdigit() else 0, driver))
    return cards


def cuda_of_torch() -> str | None:
    """The version of CUDA that torch was built for; None for a build without CUDA. torch is not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        match = _CUDA.search(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
    except OSError:
        return None
    return match[1] if match else None


def ask_torch() -> tuple[bool, list[str]]:
    """Whether torch can use a GPU, and for which architectures it has kernels. Imports torch in another process."""
    try:
        done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=120, check=True)
        usable, architectures = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return False, []
    return bool(usable), list(architectures)


def check_gpus(cards: Sequence[Card], usable: bool, architectures: Sequence[str], cuda: str | None) -> list[Finding]:
    """Each GPU with its number format, or why torch cannot use it.

    Args:
        cards: all GPUs.
        usable: whether torch can use any.
        architectures: for which torch has kernels, such as "sm_80".
        cuda: the version that torch was built for.
    """
    if not cards:
        return [Finding(TOPIC, "NVIDIA", "ok", "none; models run on the CPU, in float32")]
    build = f"torch is built for CUDA {cuda}" if cuda else "torch is built without CUDA"
    findings = []
    for number, card in enumerate(cards):
        capability = "{}.{}".format(*card.capability)
        said = f"{card.name}, compute capability {capability}, {card.memory / 1024:.0f} GiB, driver {card.driver}"
        name = f"GPU {number}"
        if not usable:
            remedy = "install a CUDA build of torch that fits the driver, or index with --accelerators none"
            findings.append(Finding(TOPIC, name, "problem", f"{said}; torch cannot use it: {build}", remedy))
        elif architectures and not runs_on(card.capability, list(architectures)):
            remedy = "install a build of torch that has them (before Volta: CUDA 12.6), or leave the GPU out"
            findings.append(Finding(TOPIC, name, "problem", f"{said}; torch has no kernels for it: {build}", remedy))
        else:
            findings.append(Finding(TOPIC, name, "ok", f"{said}; computes in {dtype_for(card.capability)}; {build}"))
    return findings

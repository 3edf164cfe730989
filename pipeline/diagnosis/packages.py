"""Whether the packages that the project requires are installed, in the versions that it requires."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline import __version__
from pipeline.diagnosis.finding import Finding, State

TOPIC = "versions"
EXTRAS = {
    "yolo": "detection in photos, also by the default detector (AGPL-3.0)",
    "onnx": "detectors in .onnx files",
    "queries": "--classes-from-queries",
    "jxl": "JPEG XL photos (GPL-3.0)",
    "optuna": "qpert tune --search optuna",
    "lavis": "the encoder blip2-lavis, whose environment pip fills",
}
"""Extra -> what it is for. Those for developers are left out."""
_SHOWN = ("ray", "torch", "torchvision", "pyarrow", "transformers", "open_clip_torch", "huggingface_hub")
"""Packages with a line of their own also when they are as required."""
_EXTRA = re.compile(r"""extra == ["']([\w-]+)["']""")


def check_packages(
    requirements: Iterable[str] | None = None, version_of: Callable[[str], str] = metadata.version
) -> list[Finding]:
    """Compares what is installed with what is required, by the metadata alone: nothing is imported.

    Args:
        requirements: in the form of `importlib.metadata.requires`; None for those of the installed project.
        version_of: the installed version of a package; raises `PackageNotFoundError`.
    """
    findings = [_python(), Finding(TOPIC, "qpert", "ok", __version__)]
    if requirements is None:
        try:
            requirements = metadata.requires("qpert") or ()
        except metadata.PackageNotFoundError:
            said = "it runs from a folder without being installed, so what it requires is not known"
            return [*findings, Finding(TOPIC, "packages", "warning", said, "pip install '.[yolo,onnx]' in its folder")]
    parsed = [Requirement(text) for text in requirements]
    needed = [requirement for requirement in parsed if requirement.marker is None or requirement.marker.evaluate()]
    required = list(_required(needed, version_of))
    fine = [finding for finding in required if finding.state == "ok" and finding.name not in _SHOWN]
    findings += [finding for finding in required if finding not in fine]
    if fine:
        findings.append(Finding(TOPIC, "further packages", "ok", f"{len(fine)} are as required"))
    return findings + list(_optional(parsed, version_of))


def _python() -> Finding:
    try:
        wanted = SpecifierSet(metadata.metadata("qpert")["Requires-Python"])
    except metadata.PackageNotFoundError:
        wanted = SpecifierSet()
    if wanted.contains(platform.python_version(), prereleases=True):
        return Finding(TOPIC, "Python", "ok", platform.python_version())
    return Finding(TOPIC, "Python", "problem", platform.python_version(), f"use Python {wanted}")


def _required(needed: Iterable[Requirement], version_of: Callable[[str], str]) -> Iterator[Finding]:
    for requirement in needed:
        command = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(TOPIC, requirement.name, "problem", "is not installed", command)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(TOPIC, requirement.name, "ok", version)
        else:
            yield Finding(TOPIC, requirement.name, "problem", f"{version}, not {requirement.specifier}", command)


def _optional(parsed: Iterable[Requirement], version_of: Callable[[str], str]) -> Iterator[Finding]:
    for requirement in parsed:
        match = _EXTRA.search(str(requirement.marker or ""))
        if match is None or match[1] not in EXTRAS:
            continue
        extra, command = match[1], f"pip install 'qpert[{match[1]}]'"
        try:
            version = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            # Without a detector the default options do not work; the others are for few.
            state: State = "warning" if extra == "yolo" else "ok"
            yield Finding(TOPIC, requirement.name, state, f"not installed; for {EXTRAS[extra]}", command)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(TOPIC, requirement.name, "ok", version)
        else:
            yield Finding(TOPIC, requirement.name, "warning", f"{version}, not {requirement.specifier}", command)

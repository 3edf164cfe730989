"""The environment of `blip2-lavis`: LAVIS and the old libraries it needs, in a folder ahead of all others.

salesforce-lavis 1.0.2 needs transformers 4.26 or older, so it cannot share a process with the other encoders, but it
can share torch and everything else that is installed. pip fills the folder once per machine, and PYTHONPATH in the
runtime environment of the Ray actors that use it puts it first.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from pipeline.errors import QpertError

PACKAGES = (
    "salesforce-lavis==1.0.2",
    "transformers==4.26.1",  # 4.27 and later repeat the photos a second time in beam search
    "tokenizers==0.13.3",
    "huggingface_hub==0.29.3",
    "timm==0.4.12",
    "fairscale==0.4.4",
    "omegaconf==2.4.0",
    "iopath==0.1.10",
    "portalocker==4.4.2",
)
"""Everything that LAVIS' BLIP-2 imports beyond torch and Ray; installed without dependencies."""
VARIABLE = "QPERT_LAVIS_ENV"
_PYTHONS = ((3, 10), (3, 11))
"""The last versions that tokenizers 0.13 has wheels for."""
_FOREIGN = ("tests", "app", "docs", "projects", "benchmarks", "bin")
"""Folders that these packages install beside themselves, which would hide other packages' folders."""
_READY = "qpert-ready"


def folder() -> Path:
    """Location of the environment: QPERT_LAVIS_ENV, or a folder for these versions in the user's cache."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    versions = "\n".join([*PACKAGES, platform.machine(), platform.python_version()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "qpert" / f"lavis-{hashlib.sha256(versions.encode()).hexdigest()[:12]}"


def is_built() -> bool:
    """Whether the environment is complete on this machine."""
    return (folder() / _READY).is_file()


def ensure(say: Callable[[str], None] | None = None) -> Path:
    """The environment's folder, built by pip if it is missing; concurrent processes wait for the first.

    Args:
        say: receives progress messages while it is being built.

    Raises:
        QpertError: it cannot be built here, with the reason.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    place = folder()
    if (place / _READY).is_file():
        return place
    if sys.version_info[:2] not in _PYTHONS:
        raise QpertError(
            f"blip2-lavis needs Python 3.10 or 3.11, which LAVIS' libraries were built for; this is"
            f" {platform.python_version()}. The encoder blip2 opens the same weights"
        )
    if place.exists() and any(place.iterdir()):
        raise QpertError(f"{place} ({VARIABLE}) holds something else than the environment of LAVIS; name a new folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not (place / _READY).is_file():
                say(f"building the environment of LAVIS in {place}: {len(PACKAGES)} packages, some 110 MB, once ...")
                _build(place)
                say("the environment of LAVIS is ready")
    except OSError as error:
        raise QpertError(f"the environment of LAVIS cannot be written to {place}: {error}; set {VARIABLE}") from error
    return place


def _build(place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{place.name}-", dir=place.parent) as scratch:
        target = Path(scratch) / "env"
        options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--target", str(target)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, *PACKAGES], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            raise QpertError(
                "the environment of LAVIS could not be built; pip said:\n       "
                + "\n       ".join(lines[-4:])
                + f"\n       Without a network, build it elsewhere and name it by {VARIABLE}: pip install --no-deps"
                f" --target FOLDER {' '.join(PACKAGES)}; touch FOLDER/{_READY}"
            )
        for name in _FOREIGN:
            shutil.rmtree(target / name, ignore_errors=True)
        (target / _READY).touch()
        shutil.rmtree(place, ignore_errors=True)  # empty, or left by an earlier attempt
        target.rename(place)


def runtime_env() -> dict[str, Any]:
    """Ray's runtime environment with LAVIS first; an actor on a machine without the folder builds it."""
    path = os.pathsep.join(filter(None, [str(folder()), os.environ.get("PYTHONPATH")]))
    return {"env_vars": {"PYTHONPATH": path, VARIABLE: str(folder())}}


def activate() -> None:
    """Make `import lavis` work in this process.

    Three of its packages are replaced by empty ones, because their own code imports all of LAVIS.

    Raises:
        QpertError: the environment is not first in this process' path.
    """
    place = folder()
    if str(place) not in sys.path:
        raise QpertError(_elsewhere(place))
    ensure()
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(place):
        raise QpertError(_elsewhere(place))
    if "lavis" in sys.modules:
        return
    root = place / "lavis"
    for name, parts in (("lavis", ()), ("lavis.models", ("models",)), ("lavis.processors", ("processors",))):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*parts))]
        sys.modules[name] = package
    # LAVIS' registry looks these up in the packages.
    for package_name, module, attribute in (
        ("lavis.models", "lavis.models.base_model", "BaseModel"),
        ("lavis.processors", "lavis.processors.base_processor", "BaseProcessor"),
    ):
        setattr(sys.modules[package_name], attribute, getattr(importlib.import_module(module), attribute))


def _elsewhere(place: Path) -> str:
    return (
        f"blip2-lavis runs in a process of its own, with {place} first in PYTHONPATH, as `qpert index` starts it; here"
        " the encoder blip2 opens the same weights"
    )

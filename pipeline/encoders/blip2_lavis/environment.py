"""The environment of `blip2-lavis`: LAVIS and the old libraries it needs, in a folder in front of everything else.

salesforce-lavis 1.0.2 runs with transformers 4.26 and nothing newer, so it cannot share a process with the rest. It can
share torch and all else that is installed. The folder is made once per machine by pip, and put in front by PYTHONPATH,
in the runtime environment of the Ray actors that use it.
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
    "transformers==4.26.1",  # 4.27 and later expand the photos a second time in beam search
    "tokenizers==0.13.3",
    "huggingface_hub==0.29.3",
    "timm==0.4.12",
    "fairscale==0.4.4",
    "omegaconf==2.4.0",
    "iopath==0.1.10",
    "portalocker==4.4.2",
)
"""All that LAVIS' BLIP-2 imports and that is not torch's or Ray's already; installed without their dependencies."""
VARIABLE = "QPERT_LAVIS_ENV"
_PYTHONS = ((3, 10), (3, 11))
"""tokenizers 0.13 has wheels for these and no later ones."""
_FOREIGN = ("tests", "app", "docs", "projects", "benchmarks", "bin")
"""Folders that these packages install beside themselves, and that would hide those of others."""
_READY = "qpert-ready"


def folder() -> Path:
    """Where the environment is or will be: QPERT_LAVIS_ENV, or a folder for these versions in the user's cache."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    what = "\n".join([*PACKAGES, platform.machine(), platform.python_version()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "qpert" / f"lavis-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def ensure(say: Callable[[str], None] | None = None) -> Path:
    """The environment's folder, built by pip when it is not there; processes that ask at once wait for one of them.

    Args:
        say: told what is being done when that takes a while.

    Raises:
        QpertError: it cannot be built here, and why.
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
        shutil.rmtree(place, ignore_errors=True)  # empty, or half of an earlier attempt
        target.rename(place)


def runtime_env() -> dict[str, Any]:
    """Ray's runtime environment with LAVIS in front; an actor on a machine that lacks the folder builds it itself."""
    path = os.pathsep.join(filter(None, [str(folder()), os.environ.get("PYTHONPATH")]))
    return {"env_vars": {"PYTHONPATH": path, VARIABLE: str(folder())}}


def activate() -> None:
    """Make this process' `import lavis` work: its three packages become bare, for their own code imports all of LAVIS.

    Raises:
        QpertError: this process has other libraries in front.
    """
    place = folder()
    if str(place) not in sys.path:
        raise QpertError(_elsewhere(place))
    ensure()
    importlib.invalidate_caches()
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None or not Path(found.origin).is_relative_to(place):
        raise QpertError(_elsewhere(place))
    if "lavis" in sys.modules:
        return
    root = place / "lavis"
    for name, parts in (("lavis", ()), ("lavis.models", ("models",)), ("lavis.processors", ("processors",))):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*parts))]
        sys.modules[name] = package
    # What LAVIS' registry looks up in these packages.
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

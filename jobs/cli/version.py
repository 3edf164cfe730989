"""What ``qpert --version`` prints."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from pipeline import __version__

_LIBRARIES = ("ray", "torch")
"""Those whose versions decide most about what a run does; ``qpert doctor`` lists all."""


def version_text() -> str:
    """Our version, Python's and those of the main libraries, without importing the libraries."""
    return f"qpert {__version__} (Python {platform.python_version()}, {', '.join(map(_library, _LIBRARIES))})"


def _library(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is not installed"

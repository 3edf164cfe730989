"""`import pipeline`: quick, with every name of the API, and none that a room has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pipeline


def test_importing_it_loads_no_large_library() -> None:
    code = "import pipeline, sys; print(*{'numpy', 'pyarrow', 'pydantic', 'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", pipeline.__all__)
def test_every_name_is_importable(name: str) -> None:
    assert callable(getattr(pipeline, name))
    assert name in dir(pipeline)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pipeline' has no attribute 'nothing'"):
        _ = pipeline.nothing


def test_no_room_has_the_name_of_a_function() -> None:
    """Importing such a room would replace the function."""
    rooms = {path.stem for path in Path(pipeline.__file__).parent.iterdir()}
    assert not rooms & set(pipeline.__all__)


def test_it_says_that_it_is_typed() -> None:
    assert (Path(pipeline.__file__).parent / "py.typed").is_file()

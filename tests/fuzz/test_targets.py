"""Every target, on what it starts from, on what was found to fail once, and on a few hundred mutations."""

from __future__ import annotations

import importlib
import random
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import TARGETS
from tests.fuzz.mutation import mutate

FOUND = Path(__file__).parent / "found"
"""`found/TARGET-*`: inputs on which a target failed before it was mended."""


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")
    for data in (b"", *target.SEEDS):
        target.run_one(data)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_what_failed_once(path: Path) -> None:
    importlib.import_module(f"tests.fuzz.{path.name.partition('-')[0]}").run_one(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")

    @seed(0)
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(target.SEEDS), st.integers(0, 2**32), st.binary(max_size=64))
    def run(start: bytes, number: int, tail: bytes) -> None:
        target.run_one(mutate(start, random.Random(number)) + tail)

    run()

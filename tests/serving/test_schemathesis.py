"""The API keeps what its OpenAPI document promises, whatever is sent: tried by schemathesis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, CHECKS

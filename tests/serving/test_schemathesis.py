"""The API keeps what its OpenAPI document promises, whatever is sent: tried by schemathesis over a real connection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.live import live_server

pytest.importorskip("schemathesis")

EXAMPLES = 8
LEFT_OUT = "positive_data_acceptance"
"""It says that a request which the schema allows must be answered; but a query may have no answer for reasons that no
schema states: an image that is none, terms that cancel each other out, dates in the wrong order."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing(coca: str, tmp_path: Path) -> None:
    with live_server(coca, "--rate", "100000", "--name", "set") as server:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", str(EXAMPLES)),
            # The first photo loads the encoder, for which a busy machine takes its time.
            *("--request-timeout", "120", "--max-response-time", "120", "--seed", "1", "--continue-on-failure"),
        ]
        # Its own folder, because it keeps what it finds beside it.
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=850, check=False)
        assert done.returncode == 0, done.stdout[-6000:]
        assert " 9 passed" in done.stdout
        assert server.is_alive()

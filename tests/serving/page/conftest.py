"""A server with three small sets, made of scenes by a bundled miniature, and a browser that looks at its page.

Every page that a test opens is watched: an error in its console, an exception, or a request to another host fails the
test, whatever it looks at.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.looking import Served, Watch, wait_for
from tests.serving.page.material import COUNT, ODD_SET, write_odd_photos


@pytest.fixture(scope="session")
def sets(ray_cpu: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sets `plain` and `perturbed` of the same scenes, and one with odd names, labels and dates."""
    from pipeline.datasets.scenes import write_scenes
    from pipeline.detectors.config import DetectorConfig
    from pipeline.runs.index_run import IndexRun
    from pipeline.runs.perturbation_config import PerturbationConfig
    from pipeline.runs.spec import IndexSpec

    folder = tmp_path_factory.mktemp("sets")
    write_scenes(folder / "scenes", COUNT, 1, "balanced")
    photos = folder / "scenes" / "images"
    annotations = write_odd_photos(photos, folder / "photos")
    plain, miniature = PerturbationConfig(preset="none"), DetectorConfig()
    for name, source, perturbation, detector in [
        ("plain", photos, plain, miniature),
        ("perturbed", photos, PerturbationConfig(), miniature),
        (ODD_SET, folder / "photos", plain, DetectorConfig(model="annotated", annotations=str(annotations))),
    ]:
        spec = IndexSpec(
            source=str(source),
            out=str(folder / name),
            encoder="internvl",
            detector=detector,
            perturbation=perturbation,
            cpus=2,
        )
        assert IndexRun(spec).run().report.failures is None
    return folder


@pytest.fixture(scope="session")
def served(sets: Path) -> Iterator[Served]:
    """The server, as users start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jobs", "serve", *(str(sets / name) for name in ("plain", "perturbed", ODD_SET))]
    with open(sets / "server.log", "wb") as log:
        server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/"
    try:
        _wait_for(f"{address}healthz", server, sets / "server.log")
        yield Served(address, sets)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window. One for each module: while it runs, nothing else can use asyncio here."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("the page's tests need Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Opens the page at an address of its own, waits for it to be done, and watches it until the test ends.

    Arguments: what follows `?`; `width`, `height`, `scheme` ("light" or "dark"), `allow` (parts of messages in the
    console that are expected), `wait` (False: do not wait), and options of Playwright's contexts.
    """
    contexts, watches = [], []

    def open_at(
        query: str = "",
        *,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        allow: tuple[str, ...] = (),
        prepare: Callable[[Any], None] = lambda page: None,
        **options: Any,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, base_url=served.address, **options
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        watches.append(Watch(served.address, allow))
        watches[-1].look_at(page)
        prepare(page)
        page.goto(f"/?{query}" if query else "/")
        wait_for(page, "document.querySelector('#status').textContent || document.querySelector('.message')")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [fault for watch in watches for fault in watch.faults] == []


@pytest.fixture
def photo_file(sets: Path) -> Path:
    """A photo to search with."""
    return sets / "scenes" / "images" / "000007.jpg"


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310  # our own
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])

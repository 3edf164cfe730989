"""Searching measured: the index of `qpert build-index`, the exact scan, and other libraries, on the same vectors.

Every engine is opened and measured in a process of its own (`search_run.py`). Recall is against the exact search.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.benchmarks.search_data import SearchSizes
from pipeline.benchmarks.search_engines import BEST, BUILDERS, installed
from pipeline.benchmarks.search_figures import Latency, Memory
from pipeline.benchmarks.search_http import Client, HttpMeasure, measure_http
from pipeline.benchmarks.search_options import SearchOptions
from pipeline.benchmarks.search_report import EngineFigures, SearchFigures
from pipeline.benchmarks.search_run import Measure, Task
from pipeline.benchmarks.search_scan import ScanRates
from pipeline.benchmarks.search_set import TEXTS, check_room, write_set
from pipeline.errors import QpertError

_JUDGED = 200
"""Texts with a truth: the exact search takes seconds for a million photos."""
_EFFORTS = {"usearch": (1000, 4000), "lancedb": (20, 200)}
"""Settings of other libraries: candidates of the walk, partitions that are looked into."""
_INDEXED, _FOREIGN = 2.5, 2.5
"""Bytes on disk of a set with its index, and of the indexes of the other libraries, against those of its vectors."""
_RAW = ("vectors.npy", "lengths.npy", "photos.arrow")
"""Files of a shard that are no part of an approximate index."""


def measure_search(options: SearchOptions, folder: Path) -> Iterator[SearchFigures]:
    """Measures searching, and yields the figures of one set after the other.

    Args:
        options: what to measure.
        folder: an empty folder, for what is not to be kept.

    Raises:
        QpertError: the disk lacks room, options do not fit, or a process failed.
    """
    http = _client(options)
    if options.set is not None:
        yield _existing(options, Path(options.set), folder, http)
        return
    base = folder if options.keep is None else Path(options.keep)
    if not base.is_dir():
        raise QpertError(f"--search.keep {base}: there is no such folder")
    sizes = [SearchSizes(photos, options.vectors, options.dim, options.seed) for photos in options.photos]
    roots = [base / f"{size.photos}x{size.vectors}x{size.dim}-seed{size.seed}" for size in sizes]
    for size, root in zip(sizes, roots, strict=True):
        with_others = bool(_others(options, size.photos))
        check_room(base, max(0, int(size.bytes * (_INDEXED + with_others * _FOREIGN)) - _bytes_below(root)))
        write_set(size, options.texts, root)
        yield _simulated(options, size, root, http)


def _simulated(options: SearchOptions, sizes: SearchSizes, root: Path, http: HttpMeasure | None) -> SearchFigures:
    load = _load()
    seconds = None if options.kind == "none" else _built(root, options.kind)
    work = root / "measured"
    work.mkdir(exist_ok=True)
    task = Task(
        "search", "qpert", str(root), str(root / TEXTS), str(work), options.fetched, 0, options.texts, options.seconds
    )
    scan = _judge(task)
    engines = [EngineFigures("qpert", seconds, _index_bytes(root), _measured(task))]
    for library in _others(options, sizes.photos):
        built = _run(dataclasses.replace(task, work="build", engine=library, folder=str(work / library)))
        for effort in _EFFORTS[library]:
            measure = _measured(dataclasses.replace(task, engine=library, effort=effort))
            name = f"{library}, {options.fetched:,} rows, effort {effort:,}"
            engines.append(EngineFigures(name, built["seconds"], _bytes_below(work / library), measure))
    what = (
        f"{sizes.photos:,} simulated photos, {sizes.vectors} vectors of {sizes.dim} each, seed {sizes.seed}:"
        f" {engines[0].measure.about}"
    )
    return _figures(what, sizes.photos, options.texts, load, root, scan, engines, http)


def _existing(options: SearchOptions, root: Path, folder: Path, http: HttpMeasure | None) -> SearchFigures:
    from pipeline.features.feature_set import FeatureSet
    from pipeline.retrieval.text import embed_texts, load_text_encoder

    load = _load()
    captions = _captions(options)
    features = FeatureSet.open(str(root))
    np.save(folder / TEXTS, embed_texts(load_text_encoder(features), captions))
    task = Task("search", "qpert", str(root), str(folder / TEXTS), str(folder), 0, 0, len(captions), options.seconds)
    scan = _judge(task)
    engine = EngineFigures("qpert", None, _index_bytes(root), _measured(task))
    what = f"{root}: {len(features):,} photos: {engine.measure.about}"
    return _figures(what, len(features), len(captions), load, root, scan, [engine], http)


def _figures(
    what: str,
    photos: int,
    texts: int,
    load: float,
    root: Path,
    scan: ScanRates | None,
    engines: list[EngineFigures],
    http: HttpMeasure | None,
) -> SearchFigures:
    raw = _bytes_below(root / "search", "vectors.npy")
    return SearchFigures(what, photos, texts, os.cpu_count() or 1, load, raw, scan, tuple(engines), http)


def _judge(task: Task) -> ScanRates | None:
    """Writes the truth, and measures the exact scan."""
    _run(dataclasses.replace(task, work="truth", queries=min(_JUDGED, task.queries)))
    rates = _run(dataclasses.replace(task, work="scan"))
    return None if rates is None else ScanRates(**rates)


def _measured(task: Task) -> Measure:
    values = _run(task)
    rates = {int(clients): rate for clients, rate in values["rates"].items()}
    latency, memory = Latency(**values["latency"]), Memory(**values["memory"])
    return Measure(**values | {"latency": latency, "memory": memory, "rates": rates})


def _others(options: SearchOptions, photos: int) -> list[str]:
    return [library for library in BUILDERS if photos <= options.others and installed(library)]


def _built(root: Path, kind: str) -> float | None:
    """Builds the index as a user would; the seconds, or None where it was there already."""
    known = sorted(root.glob("search/*/quantiser-*"))
    start = time.perf_counter()
    _process([sys.executable, "-m", "jobs", "build-index", str(root), "--kind", kind])
    return None if known else time.perf_counter() - start


def _run(task: Task) -> Any:
    task_words = json.dumps(dataclasses.asdict(task))
    said = _process([sys.executable, "-m", "pipeline.benchmarks.search_run", task_words])
    return json.loads(said.splitlines()[-1])


def _process(command: list[str]) -> str:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise QpertError(f"{' '.join(command[1:4])[:80]} failed, perhaps for lack of memory: {reason[:300]}")
    return done.stdout


def _client(options: SearchOptions) -> HttpMeasure | None:
    if options.http is None:
        return None
    token = Path(options.token_file).read_text(encoding="utf-8").strip() if options.token_file else ""
    client = Client(options.http, BEST, token)
    return measure_http(client, options.http, _captions(options), options.seconds)


def _captions(options: SearchOptions) -> list[str]:
    if options.captions is None:
        raise QpertError("--search.set and --search.http need texts: --search.captions FILE, a line each")
    lines = Path(options.captions).read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if line.strip()][: options.texts]
    if not texts:
        raise QpertError(f"{options.captions} has no text")
    return texts


def _index_bytes(root: Path) -> int:
    return _bytes_below(root / "search") - sum(_bytes_below(root / "search", name) for name in _RAW)


def _bytes_below(folder: Path, name: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.rglob(name) if path.is_file())


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0

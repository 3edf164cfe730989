"""Measures one engine in a process of its own, whose memory is then its own: `python -m` this, and a `Task` as JSON.

Prints a `Measure` as JSON; of a task that builds, the seconds and the peak of memory.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.benchmarks.search_figures import CLIENTS, Latency, Memory, queries_per_second, recall, resident, time_each

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of `ru_maxrss`."""


@dataclass(frozen=True)
class Task:
    """What a process measures.

    Attributes:
        work: `build` an index, `truth` (the best photos of each text by the exact search), the rates of the `scan`, or
            `search`.
        engine: `qpert`, or another library.
        root: the feature set.
        texts: file with the vectors of the texts.
        folder: of the index of another library, and of the truth.
        fetched: rows that another library fetches.
        effort: see the engine.
        queries: texts to measure with; recall is that of all texts with a truth.
        seconds: of each measurement of queries per second.
    """

    work: Literal["build", "truth", "scan", "search"]
    engine: str
    root: str
    texts: str
    folder: str
    fetched: int = 0
    effort: int = 0
    queries: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Measure:
    """How an engine searches.

    Attributes:
        opened: seconds from the start of the process, imports included, until the first answer.
        latency: of single queries, one after the other.
        rates: queries per second, by number of clients.
        recall: share of the exact search's `BEST` photos that it finds.
        memory: after all of that.
        about: how the set was searched.
    """

    opened: float
    latency: Latency
    rates: dict[int, float]
    recall: float
    memory: Memory
    about: str = ""


TRUTH = "truth.json"
_WARM = 50
"""Queries before the clock starts."""


def run(task: Task, begun: float) -> dict[str, Any] | None:
    """Does the work of a task.

    Args:
        task: what to measure.
        begun: when the process began, by `time.time`.
    """
    root, folder = Path(task.root), Path(task.folder)
    texts = np.load(task.texts)[: task.queries or None]
    if task.work == "build":
        from pipeline.benchmarks.search_engines import build

        start = time.perf_counter()
        build(task.engine, root, folder)
        return {"seconds": time.perf_counter() - start, "peak": peak()}
    if task.work == "scan":
        from pipeline.benchmarks.search_scan import measure_scan

        rates = measure_scan(root, texts)
        return None if rates is None else dataclasses.asdict(rates)
    if task.work == "truth":
        write_truth(root, texts, folder)
        return None
    return dataclasses.asdict(_measure(task, texts, begun))


def write_truth(root: Path, texts: Any, folder: Path) -> None:
    """Writes the ids of the best photos of each text, by one pass of the exact search."""
    from pipeline.benchmarks.search_engines import BEST
    from pipeline.vectors.opening import open_snapshot
    from pipeline.vectors.query_vectors import QueryVectors

    snapshot = open_snapshot(str(root))
    answers = snapshot.search([QueryVectors.single(text) for text in texts], BEST, exact=True)
    ids = [snapshot.photos.ids(answer.photos) for answer in answers]
    (folder / TRUTH).write_text(json.dumps(ids) + "\n", encoding="utf-8")


def _measure(task: Task, texts: Any, begun: float) -> Measure:
    from pipeline.benchmarks.search_engines import OPENERS, Engine, Qpert

    engine: Engine
    root = Path(task.root)
    if task.engine == "qpert":
        engine = Qpert(root)
    else:
        folder = Path(task.folder) / task.engine
        engine = OPENERS[task.engine](root, folder, task.fetched, task.effort)
    engine.search(texts[0])
    opened = time.time() - begun
    right = json.loads((Path(task.folder) / TRUTH).read_text(encoding="utf-8"))
    found = [engine.snapshot.photos.ids(engine.search(text)) for text in texts[: len(right)]]
    time_each(engine.search, texts[:_WARM])
    latency = Latency.of(time_each(engine.search, texts))
    rates = {clients: queries_per_second(engine.search, texts, clients, task.seconds) for clients in CLIENTS}
    return Measure(opened, latency, rates, recall(found, right), resident(), engine.snapshot.about)


def peak() -> int:
    """The most memory that this process has taken, in bytes."""
    return _UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    import psutil

    print(json.dumps(run(Task(**json.loads(sys.argv[1])), psutil.Process().create_time())))

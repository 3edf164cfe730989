"""What it takes until the first photo is indexed and the first hit is shown, part by part.

Every figure is of processes of their own, since imports cost most of it, and only the first time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import QpertError

_PARTS = {
    "import what plans a run": "import pipeline.runs.index_run",
    "import Ray Data, while Ray starts": "import ray; import pipeline.runs.index_graph",
    "start Ray, and end it": (
        "from pipeline.cluster.session import ray_session\nwith ray_session(): pass  # imports nothing else"
    ),
    "models in an actor, up to a first photo": (
        "import torch; torch.set_num_threads(1)\n"
        "from PIL import Image\n"
        "from pipeline.detectors import load_detector\n"
        "from pipeline.encoders import load_encoder\n"
        "detector, encoder = load_detector('miniature', photos=500), load_encoder('coca')\n"
        "photo = Image.new('RGB', (192, 192))\n"
        "objects = detector.detect(['a'], [photo])\n"
        "encoder.embed(encoder.backbone(encoder.preprocess(photo)[None]), objects)"
    ),
}
"""Part of a run -> the program that does only this."""
_COLD_RUN = (
    "import json, sys, time, psutil\n"
    "from pipeline.runs.index_run import IndexRun\n"
    "from pipeline.runs.spec import IndexSpec\n"
    "counts = IndexRun(IndexSpec(source=sys.argv[1], out=sys.argv[2])).run().counts\n"
    "begun, last = psutil.Process().create_time(), counts.history[-1][0]\n"
    "print(json.dumps([counts.started - begun, last - counts.started, time.time() - last]))"
)


@dataclass(frozen=True)
class Timing:
    """Seconds of a process.

    Attributes:
        wall: by the clock.
        cpu: of CPU, with the children that it waited for, which Ray's processes are not; NaN where it is unknown.
    """

    wall: float
    cpu: float = float("nan")

    def __str__(self) -> str:
        """As in "1.24 s, 0.98 of CPU"."""
        return f"{self.wall:6.2f} s" + ("" if self.cpu != self.cpu else f", {self.cpu:6.2f} of CPU")


@dataclass(frozen=True)
class StartTimes:
    """What `measure_start` measures.

    Attributes:
        photos: how many were indexed.
        commands: command -> its time.
        parts: part of a cold run -> its time alone.
        cold: of one cold run: until the first photo is in work, from there to the last one, and what comes after.
        load: load of the machine before, as os.getloadavg() has it.
    """

    photos: int
    commands: dict[str, Timing]
    parts: dict[str, Timing]
    cold: dict[str, Timing]
    load: float

    def __str__(self) -> str:
        """A table."""
        titles = {
            f"Commands (load {self.load:.1f} before)": self.commands,
            "Parts of a cold run, each alone": self.parts,
            f"A cold run over {self.photos:,} scenes": self.cold,
        }
        width = max(len(name) for times in titles.values() for name in times)
        return "\n".join(
            line
            for title, times in titles.items()
            for line in (title, *(f"  {name:<{width}}  {seconds}" for name, seconds in times.items()))
        )


def measure_start(folder: Path, photos: int, repetitions: int = 3) -> StartTimes:
    """Measures commands, parts of a cold run, and one cold run, with the bundled miniatures.

    Args:
        folder: an empty folder for scenes and features.
        photos: scenes to index.
        repetitions: of everything but the indexing; medians are reported.

    Raises:
        QpertError: a command does not work here.
    """
    from pipeline.datasets.scenes import write_scenes

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    write_scenes(folder / "scenes", photos, seed=2)
    source, out, new = (str(folder / name) for name in ("scenes/images", "out", "new"))
    index = _timed(["-m", "jobs", "index", source, "--out", out])
    commands = {
        "qpert --version": ["--version"],
        "qpert index --help": ["index", "--help"],
        "a refusal (no such encoder)": ["index", source, "--out", new, "--encoder", "none"],
        "qpert index --dry-run": ["index", source, "--out", new, "--dry-run"],
        "qpert search, one query": ["search", out, "a tiny red star"],
    }
    times = {
        name: _median(["-m", "jobs", *words], repetitions, status=2 if "refusal" in name else 0)
        for name, words in commands.items()
    }
    cold = _output(["-c", _COLD_RUN, source, str(folder / "cold")])
    stages = ("until the first photo is in work", "until the last one is done", "until the end: files, Ray's end")
    return StartTimes(
        photos,
        {**times, f"qpert index, {photos:,} scenes": index},
        {name: _median(["-c", program], repetitions) for name, program in _PARTS.items()},
        dict(zip(stages, map(Timing, cold), strict=True)),
        load,
    )


def _median(words: Sequence[str], repetitions: int, *, status: int = 0) -> Timing:
    times = [_timed(words, status=status) for _ in range(repetitions)]
    return Timing(statistics.median(time.wall for time in times), statistics.median(time.cpu for time in times))


def _timed(words: Sequence[str], *, status: int = 0) -> Timing:
    before, started = os.times(), time.perf_counter()
    _run(words, status)
    after = os.times()
    cpu = sum(getattr(after, kind) - getattr(before, kind) for kind in ("children_user", "children_system"))
    return Timing(time.perf_counter() - started, cpu)


def _output(words: Sequence[str]) -> list[float]:
    seconds: list[float] = json.loads(_run(words, 0).splitlines()[-1])
    return seconds


def _run(words: Sequence[str], status: int) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode != status:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise QpertError(f"python {' '.join(words)[:60]} ended with {done.returncode} and said: {said[:300]}")
    return done.stdout

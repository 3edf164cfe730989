"""Small real runs with made-up stage times, timed block by block, beside their simulation.

    python -m tests.simulation.real_runs FOLDER fit        makes the runs that overheads are taken from
    python -m tests.simulation.real_runs FOLDER check      makes other runs
    python -m tests.simulation.real_runs FOLDER compare    simulates all of them with the overheads of the former

Each run is a process of its own. An encoder that sleeps takes the place of a model, so two cores serve several actors.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from pipeline.benchmarks.graph_alone import TrivialEncoder, write_tiny
from pipeline.simulation.events import simulate
from pipeline.simulation.workload import Actor, Failures, Overheads, Workload

LOG, TAKEN, KILLED = "log", "taken", "killed"
_PROBE = 4
"""Photos of the probe that each encoder embeds first."""


@dataclass(frozen=True)
class Run:
    """A run: photos, the seconds that each actor takes for a photo, and after how many of its photos the first dies."""

    photos: int
    paces: tuple[float, ...]
    kill: int | None = None


FIT = {
    "fit, slow blocks": Run(480, (0.01, 0.01)),
    "fit, fast blocks": Run(2000, (0.001, 0.001)),
    "fit, one dies": Run(640, (0.01, 0.01), kill=100),
}
CHECK = {
    "two alike": Run(1600, (0.01, 0.01)),
    "two speeds": Run(1200, (0.005, 0.02)),
    "one dies": Run(1200, (0.01, 0.01), kill=300),
    "three alike": Run(900, (0.02, 0.02, 0.02)),
}


class PacedEncoder(TrivialEncoder):
    """Sleeps for each photo; the actors of a run take their paces in the order in which they are up."""

    name = "paced"
    vectors, dim = 1, 256

    def __init__(self, folder: Path, run: Run) -> None:
        super().__init__()
        self.folder, self.run, self.done = folder, run, 0
        number = 0
        while True:
            try:
                os.close(os.open(folder / f"{TAKEN}{number}", os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                number += 1
        self.number, self.pace = number, run.paces[number % len(run.paces)]

    def backbone(self, pixels: Tensor) -> Tensor:
        """Takes its time."""
        began = time.time()
        time.sleep(len(pixels) * self.pace)
        with (self.folder / LOG).open("a") as log:
            log.write(f"{began} {time.time()} {self.number} {len(pixels)}\n")
        self.done += len(pixels)
        if self.run.kill is not None and self.number == 0 and self.done >= self.run.kill:
            (self.folder / KILLED).write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.flatten(pixels, 1)[:, None]


def build(folder: str, run: Run, *, device: str, dtype: str) -> PacedEncoder:
    """For the encode stage."""
    return PacedEncoder(Path(folder), run)


def index(folder: Path, run: Run) -> None:
    """Runs it in this process, and prints when it began and ended as JSON."""
    from pipeline.runs.encoder_choice import EncoderChoice
    from pipeline.runs.index_run import IndexRun
    from pipeline.runs.spec import IndexSpec

    options = {"detector": {"model": "none"}, "perturbation": {"preset": "none"}, "encode_actors": len(run.paces)}
    where = {"source": str(folder.parent / "photos"), "out": str(folder / "out"), "limit": run.photos, "cpus": 2}
    spec = IndexSpec.model_validate({**where, **options})
    choice = EncoderChoice(partial(build, str(folder), run), {"name": "paced"}, 256)
    outcome = IndexRun(spec, encoder=choice).run()
    assert outcome.totals["photos"] == run.photos
    assert outcome.graph is not None
    print(json.dumps({"block": outcome.graph.block_rows, "file": outcome.graph.file_rows}))


def measure(folder: Path, name: str, run: Run) -> dict[str, object]:
    """Runs it in a process of its own; what it took, from its own log."""
    place = folder / name.replace(" ", "-").replace(",", "")
    place.mkdir(parents=True)
    write_tiny(folder / "photos", run.photos)
    began = time.time()
    command = [sys.executable, "-m", "tests.simulation.real_runs", str(place), json.dumps(asdict(run))]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    ended = time.time()
    batches = [[float(word) for word in line.split()] for line in (place / LOG).read_text().splitlines()]
    work = [batch for batch in batches if batch[3] > 0]
    killed = place / KILLED
    return {
        "name": name,
        "run": asdict(run),
        **json.loads(said.splitlines()[-1]),
        "seconds": ended - began,
        "batches": [[one - began, other - began, actor, photos] for one, other, actor, photos in work],
        "killed": float(killed.read_text()) - began if killed.exists() else None,
        "load": os.getloadavg()[0],
    }


def batches_of(found: dict[str, Any]) -> dict[int, list[tuple[float, float, int]]]:
    """Actor -> its calls of the model (began, ended, photos), without the first one: the probe."""
    calls: dict[int, list[tuple[float, float, int]]] = {}
    for began, ended, actor, photos in found["batches"]:
        calls.setdefault(int(actor), []).append((began, ended, int(photos)))
    return {actor: some[1:] if some[0][2] == _PROBE else some for actor, some in calls.items()}


def overheads_of(folder: Path) -> Overheads:
    """What the runs of `FIT` took beside their work."""
    starts, ends, between, restarts = [], [], [], []
    for name in FIT:
        found = json.loads((folder / f"{name}.json").read_text())
        actors = batches_of(found)
        if found["killed"] is not None:
            again = min(calls[0][0] for actor, calls in actors.items() if actor >= len(found["run"]["paces"]))
            restarts.append(again - found["killed"])
            continue
        starts.append(mean(calls[0][0] for calls in actors.values()))
        ends.append(found["seconds"] - max(calls[-1][1] for calls in actors.values()))
        for calls in actors.values():
            idle = calls[-1][1] - calls[0][0] - sum(ended - began for began, ended, _ in calls)
            blocks = sum(photos for _, _, photos in calls) / found["block"]
            between.append(idle / (blocks - 1))
    driver = Overheads().driver
    file = Overheads().file
    return Overheads(mean(starts) - 2 * driver, mean(between), driver, file, mean(ends) - file, mean(restarts))


def compare(folder: Path) -> None:
    """Prints each run beside its simulation: the whole, and from the first block to the end of the last."""
    costs = overheads_of(folder)
    print(", ".join(f"{name} {seconds:.3f}" for name, seconds in asdict(costs).items()))
    print(f"{'':<18} {'measured':>16} {'simulated':>16} {'ratio':>12}   load")
    for name in (*FIT, *CHECK):
        found = json.loads((folder / f"{name}.json").read_text())
        run, actors = found["run"], batches_of(found)
        killed = () if found["killed"] is None else ((found["killed"], 0, 0),)
        work = Workload(
            run["photos"],
            (tuple(Actor(pace) for pace in run["paces"]),),
            block_rows=found["block"],
            file_rows=found["file"],
            readers=2,
            overheads=costs,
            failures=Failures(killed=killed),
        )
        simulated = simulate(work)
        first = min(calls[0][0] for calls in actors.values())
        measured = found["seconds"], max(calls[-1][1] for calls in actors.values()) - first
        expected = simulated.seconds, simulated.working - costs.file
        figures = [f"{one:7.1f} {other:7.1f} s" for one, other in (measured, expected)]
        ratios = [one / other for one, other in zip(expected, measured, strict=True)]
        print(f"{name:<18} {figures[0]:>16} {figures[1]:>16} {ratios[0]:6.2f} {ratios[1]:5.2f}   {found['load']:.0f}")


def main(folder: Path, what: str) -> None:
    """Makes the runs and writes what they took to `folder`."""
    if what.startswith("{"):
        given = json.loads(what)
        index(folder, Run(given["photos"], tuple(given["paces"]), given["kill"]))
        return
    if what == "compare":
        compare(folder)
        return
    for name, run in (FIT if what == "fit" else CHECK).items():
        found = measure(folder, name, run)
        (folder / f"{name}.json").write_text(json.dumps(found))
        print(name, f"{found['seconds']:.1f} s, load {found['load']:.1f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

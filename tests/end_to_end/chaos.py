"""Runs on a small Ray cluster that lose a worker process, a node, or their driver, each at a drawn moment.

    python -m tests.end_to_end.chaos --runs 20 --seed 0
    python -m tests.end_to_end.chaos --runs 3 --verb tune

However a run is hurt, the same command run again must leave every photo in the feature set once (every trial in the
table, every score in the ranking), with what a run has that nothing happened to. Features are the same bit for bit, but
for single half floats that are one unit in the last place apart: what is left is cut into blocks anew, and a photo's
last bit may depend on its place in its batch. What happens to a run depends on its seed alone, and on how much is
committed, so that it can be repeated on machines of any speed; of three seeds in a row each does another kind of harm.
The exit code is 1 when a run has lost, doubled or changed something.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.end_to_end.chaos_verbs import BLOCK, ROOT, Verb, named, names

KINDS = ("worker", "node", "driver")
HEAD_CPUS, NODES, NODE_CPUS, STORE = 1, 2, 2, 100 * 2**20
RESUBMISSIONS, LIMIT = 5, 900.0


@dataclass(frozen=True)
class Fault:
    """What happens to a run `after` so much is committed, and to which of those that there are (`pick`, 0 to 1)."""

    kind: str
    after: int
    role: str
    pick: float
    refill: bool


def draw(seed: int, total: int, step: int = BLOCK, roles: Sequence[str] = ("encode",)) -> Fault:
    """The fault of a seed; of `len(KINDS)` seeds in a row each has another kind."""
    dice = random.Random(seed)
    after = step * dice.randrange(1, max(2, total // step))
    return Fault(KINDS[seed % len(KINDS)], after, dice.choice(roles), dice.random(), dice.random() < 0.5)


@dataclass
class Result:
    """Of one run; `problems` is empty where the feature set is what it should be."""

    seed: int
    kind: str
    moment: str = "not hit, the run was over before"
    seconds: float = 0.0
    codes: list[int] = field(default_factory=list)
    units: int = 0
    """Numbers that are one unit in the last place apart."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        same = f"whole, {self.units} numbers one unit apart" if self.units else "whole, bit for bit"
        verdict = "VIOLATION: " + "; ".join(self.problems) if self.problems else same
        again = f"{len(self.codes) - 1} resubmissions, exit codes {self.codes}"
        return f"seed {self.seed:<4} {self.kind:<6}  {self.moment:<52}  {again}  {self.seconds:.0f} s  {verdict}"


class Fleet:
    """A cluster of a head, which the drivers join, and nodes that come and go."""

    def __init__(self) -> None:
        head = {"num_cpus": HEAD_CPUS, "object_store_memory": STORE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        self.restore()

    def restore(self) -> None:
        """Add the nodes that are missing."""
        while len(self.nodes) < NODES:
            self.nodes.append(self.cluster.add_node(wait=False, num_cpus=NODE_CPUS, object_store_memory=STORE))

    def lose(self, pick: float) -> None:
        """Take a node away at once; its workers notice that their node is gone, and end."""
        node = self.nodes.pop(int(pick * len(self.nodes)))
        workers = _children(node)
        self.cluster.remove_node(node, allow_graceful=False)
        psutil.wait_procs(workers, timeout=60)

    def workers(self, roles: Mapping[str, str]) -> list[tuple[str, psutil.Process]]:
        """The processes that are at one of these roles now, by a part of their titles."""
        found = []
        for process in [each for node in self.cluster.list_all_nodes() for each in _children(node)]:
            with suppress(psutil.Error, IndexError):
                title = process.cmdline()[0]
                found += [(role, process) for role in roles if title.startswith("ray::") and roles[role] in title]
        return sorted(found, key=lambda each: int(each[1].pid))


def _children(node: Any) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
    return []


class Trial:
    """One run of a command into `out`, whose drivers' output is kept beside it, in OUT.log."""

    def __init__(self, fleet: Fleet, verb: Verb, out: Path) -> None:
        self.fleet, self.verb, self.out, self.log = fleet, verb, out, out.with_suffix(".log")
        self.command = [sys.executable, "-m", "jobs", *verb.words(out), "--address", fleet.cluster.address]
        verb.begin(out)

    def run(self, seed: int, fault: Fault | None) -> Result:
        """Submit it until it ends well, and hurt it once."""
        result, started = Result(seed, fault.kind if fault else "none"), time.monotonic()
        while len(result.codes) <= RESUBMISSIONS and result.codes[-1:] != [0]:
            if len(result.codes) > 1:  # at first it must do with the nodes that are left
                self.fleet.restore()
            result.codes.append(self._submit(None if result.codes else fault, result))
        result.seconds = time.monotonic() - started
        if result.codes[-1] != 0:
            result.problems.append(f"no end, see {self.log}")
        return result

    def _submit(self, fault: Fault | None, result: Result) -> int:
        """The exit code of one driver; it is killed in the end if it comes to none."""
        with self.log.open("ab") as log:
            driver = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log)
        started = due = time.monotonic()
        while driver.poll() is None:
            if time.monotonic() - started > LIMIT:
                driver.kill()
            done = self.verb.done(self.out) if fault is not None else 0
            if fault is None or done < fault.after:
                due = time.monotonic()
            elif hit := self._strike(fault, driver, exactly=time.monotonic() < due + 2):
                result.moment, fault = f"{hit} at {done} done, drawn {fault.after}", None
            time.sleep(0.02)
        return driver.returncode

    def _strike(self, fault: Fault, driver: subprocess.Popen[bytes], *, exactly: bool) -> str | None:
        """Do it and say what was done; None where no process is at the drawn work (or any, where that may be over)."""
        if fault.kind == "driver":
            driver.kill()
            return "driver"
        if fault.kind == "node":
            self.fleet.lose(fault.pick)
            if fault.refill:
                self.fleet.restore()
            return "node, another in its place," if fault.refill else "node"
        roles = self.verb.roles
        victims = self.fleet.workers({fault.role: roles[fault.role]} if exactly else roles)
        with suppress(IndexError, psutil.NoSuchProcess):
            role, process = victims[int(fault.pick * len(victims))]
            process.kill()
            return role
        return None


def run_all(verb: Verb, seeds: Sequence[int], work: Path) -> list[Result] | None:
    """Each seed's run, said as it ends. None when there is nothing to compare with."""
    reference, results = work / "undisturbed", list[Result]()
    fleet = Fleet()
    try:
        result = Trial(fleet, verb, reference).run(-1, None)
        if not result.problems:
            result.problems, _ = verb.problems(reference, reference)
        total = verb.done(reference)
        print(f"undisturbed: {total} done, {result.seconds:.0f} s, see {work}", flush=True)
        if result.problems:
            print(f"it went wrong: {'; '.join(result.problems)}")
            return None
        for seed in seeds:
            if not fleet.cluster.remaining_processes_alive():
                fleet.cluster.shutdown()
                fleet = Fleet()
            fleet.restore()
            out = work / f"run-{seed}"
            result = Trial(fleet, verb, out).run(seed, draw(seed, total, verb.step, tuple(verb.roles)))
            if not result.problems:
                result.problems, result.units = verb.problems(out, reference)
            print(result, flush=True)
            results.append(result)
    finally:
        fleet.cluster.shutdown()
    return results


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the next ones count on from it")
    parser.add_argument("--photos", type=int, default=256, help=f"a multiple of {BLOCK}, as all blocks must be equal")
    parser.add_argument("--verb", choices=names(), default="index", help="the command that is run")
    parser.add_argument("--json", type=Path, help="write the results there")
    words = parser.parse_args()
    # Ray's files stand apart as well, and their folder's name is short: those of sockets are limited.
    work = Path(tempfile.mkdtemp(prefix="chaos-"))
    slow = {"RAY_worker_register_timeout_seconds": "300", "RAY_raylet_start_wait_time_s": "300"}
    os.environ.update(RAY_TMPDIR=str(work), RAY_worker_niceness="0", RAY_USAGE_STATS_ENABLED="0", **slow)
    verb = named(words.verb, work, words.photos // BLOCK * BLOCK)
    results = run_all(verb, range(words.seed, words.seed + words.runs), work)
    if results is None:
        return 2
    if words.json is not None:
        words.json.write_text(json.dumps([asdict(each) for each in results], indent=2))
    bad, again = [each.seed for each in results if each.problems], sum(len(each.codes) - 1 for each in results)
    kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(each.kind for each in results).items())
    told = f"{words.verb}: {len(results)} runs ({kinds}), {again} resubmissions"
    print(f"{told}, {len(bad)} violations {bad or ''}".rstrip())
    if not bad:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Runs on hosts of their own that lose a process, a host or a link, into a folder as on NFS and into a bucket.

    python -m tests.hosts.chaos --runs 12 --seed 0

Needs root. As in `tests.end_to_end.chaos`, a run that is hurt and repeated until it ends must leave every photo in the
feature set once, with the features of an undisturbed run. Here each run is a job on a head that asks for a token, its
driver has a host of its own, and of 12 seeds in a row each kind of harm is done twice: once where photos and features
are in a folder that all hosts see, and once where both are in a bucket, 50 ms away, whose connections break at times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import boto3
import psutil

from tests.end_to_end.chaos import LIMIT, RESUBMISSIONS, Fault, Result
from tests.end_to_end.chaos_verbs import BLOCK, Index
from tests.hosts.namespaces import Host, Network
from tests.hosts.proxy import Proxy
from tests.hosts.ray_hosts import roles_on, start_cluster, wait_until_open
from tests.hosts.slow_link import SlowLink

LINKS = {"link-20": 20.0, "link-300": 300.0, "driver-link": 120.0}
"""Seconds for which a link is cut."""
GIVEN_UP = 400.0
"""Seconds in which a host whose link is up again learns that the head has given it up."""
SURE = 20.0
"""Seconds for which the head must count a host as alive before it is believed."""
KINDS = ("worker", "host", "driver", *LINKS)
WORKERS, DELAY, DROP = 2, 0.05, 0.03
LINK_DROP = 0.2
"""The share of connections that a bad link breaks: those between nodes are few, and live long."""
PORT, BUCKET = 5000, "qpert"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def draw(seed: int, total: int, roles: Sequence[str]) -> tuple[Fault, bool]:
    """The fault of a seed, and whether the run is in the bucket; 12 seeds in a row have each kind in both places."""
    dice = random.Random(seed)
    after = BLOCK * dice.randrange(1, max(2, total // BLOCK))
    fault = Fault(KINDS[seed % len(KINDS)], after, dice.choice(roles), dice.random(), dice.random() < 0.5)
    return fault, (seed + seed // len(KINDS)) % 2 == 1


class Fleet:
    """The hosts of the runs: a head, one for drivers, and workers that come and go."""

    def __init__(self, network: Network, env: dict[str, str], skew: float, *, bad_link: bool) -> None:
        self.network, self.bad_links = network, list[SlowLink]()
        worsen = self._worsen if bad_link else None
        self.cluster, self.driver, self.workers = start_cluster(network, WORKERS, env=env, skew=skew, worsen=worsen)
        self.cut: dict[Host, threading.Timer] = {}

    def _worsen(self, host: Host) -> None:
        self.bad_links.append(SlowLink(host, delay=DELAY, drop=LINK_DROP))

    def restore(self) -> None:
        """Hosts in the place of lost ones; Ray where it has ended. Waits for the driver's."""
        self.workers = [host for host in self.workers if host.alive]
        while len(self.workers) < WORKERS:
            self.join()
        for host in list(self.cut):
            if host is self.driver:
                self.cut[host].join()
            if not self.cut[host].is_alive():
                del self.cut[host]
                self._rejoin(host)

    def _rejoin(self, host: Host) -> None:
        """Start Ray again where it ends because the head has given the host up.

        It learns so when its connections are tried again, which may be as long after the cut as this lasted; and what
        the head says may be some seconds old.
        """
        end, absent = time.monotonic() + GIVEN_UP, time.monotonic()
        while self.cluster.runs_on(host):
            if not self.cluster.has(host):
                absent = time.monotonic()
            elif time.monotonic() - absent > SURE:
                return
            if time.monotonic() > end:
                break
            time.sleep(1)
        self.cluster.restart(host)

    def join(self) -> None:
        """One more worker."""
        host = self.network.add()
        self.cluster.start(host, 2)
        self.workers.append(host)

    def cut_link(self, host: Host, seconds: float) -> None:
        """For so long; what runs here goes on."""
        host.cut()
        self.cut[host] = threading.Timer(seconds, host.restore)
        self.cut[host].start()

    def mend(self) -> None:
        """Wait until all links are up, and a while longer: what a host that was cut off still does, it does now."""
        for timer in self.cut.values():
            timer.join()
        if self.cut:
            time.sleep(20)


class Trial:
    """One run into `out`; the output of its jobs is kept in `log`."""

    def __init__(self, fleet: Fleet, verb: Index, out: str, log: Path) -> None:
        self.fleet, self.verb, self.out, self.log = fleet, verb, out, log

    def run(self, seed: int, fault: Fault | None) -> Result:
        """Submit it until it ends well, and hurt it once."""
        result, started = Result(seed, fault.kind if fault else "none"), time.monotonic()
        while len(result.codes) <= RESUBMISSIONS and result.codes[-1:] != [0]:
            if result.codes:
                self.fleet.restore()
            result.codes.append(self._submit(None if result.codes else fault, result))
        result.seconds = time.monotonic() - started
        if result.codes[-1] != 0:
            result.problems.append(f"no end, see {self.log}")
        return result

    def _submit(self, fault: Fault | None, result: Result) -> int:
        """The exit code of one job; it is stopped in the end if it comes to none."""
        name = f"{self.log.stem}-{len(result.codes)}"
        job = self.fleet.cluster.submit(name, self.verb.words(self.out), self.log)
        started = due = time.monotonic()
        try:
            while job.poll() is None:
                if time.monotonic() - started > LIMIT:
                    job.kill()
                done = self.verb.done(self.out) if fault is not None else 0
                if fault is None or done < fault.after:
                    due = time.monotonic()
                elif hit := self._strike(fault, exactly=time.monotonic() < due + 2):
                    result.moment, fault = f"{hit} at {done} done, drawn {fault.after}", None
                time.sleep(0.1)
        finally:
            job.kill()
        if job.wait():
            self._end(name)
        return job.returncode

    def _end(self, name: str) -> None:
        """A client that lost its job says nothing about the job."""
        with suppress(subprocess.TimeoutExpired):
            self.fleet.cluster.job("stop", name)

    def _strike(self, fault: Fault, *, exactly: bool) -> str | None:
        """Do it and say what was done; None where no process is at the drawn work (or any, where that may be over)."""
        fleet = self.fleet
        victim = fleet.workers[int(fault.pick * len(fleet.workers))]
        if fault.kind == "driver":
            return "driver" if _kill_driver(fleet.driver) else None
        if fault.kind == "host":
            victim.kill()
            if fault.refill:
                fleet.join()
            return f"{victim.name}, another in its place," if fault.refill else victim.name
        if fault.kind in LINKS:
            host = fleet.driver if fault.kind == "driver-link" else victim
            fleet.cut_link(host, LINKS[fault.kind])
            return f"link of {host.name}, {LINKS[fault.kind]:.0f} s,"
        roles = self.verb.roles
        victims = roles_on(fleet.workers, {fault.role: roles[fault.role]} if exactly else roles)
        with suppress(IndexError, psutil.NoSuchProcess):
            role, process = victims[int(fault.pick * len(victims))]
            process.kill()
            return role
        return None


def _kill_driver(host: Host) -> bool:
    """Whether there was one."""
    found = False
    for process in host.processes():
        with suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-m", "jobs", "index"]:
                process.kill()
                found = True
    return found


def start_bucket(network: Network, stack: ExitStack) -> str:
    """An S3 server on a host of its own, with a bucket; returns its address past the bad network before it."""
    host = network.add("bucket")
    words = [sys.executable, "-m", "moto.server", "-H", host.address, "-p", str(PORT)]
    host.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_open((host.address, PORT))
    os.environ.update(KEYS, AWS_ENDPOINT_URL=f"http://{host.address}:{PORT}")  # of this process: the good way
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    proxy = Proxy((host.address, PORT), network.address, delay=DELAY, drop=DROP)
    stack.callback(proxy.close)
    stack.callback(
        lambda: print(f"bucket: {proxy.connections} connections, {proxy.dropped} of them broken", flush=True)
    )
    return f"http://{proxy.address[0]}:{proxy.address[1]}"


def run_all(
    photos: int, seeds: Sequence[int], work: Path, skew: float = 0.0, *, bad_link: bool = False
) -> list[Result] | None:
    """Each seed's run, said as it ends. None when there is nothing to compare with."""
    results = list[Result]()
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        endpoint = start_bucket(network, stack)
        local = Index(network.folder, photos)
        far = Index(network.folder, photos)
        far.images = f"s3://{BUCKET}/images"
        for path in Path(local.images).iterdir():
            boto3.client("s3").upload_file(str(path), BUCKET, f"images/{path.name}")
        fleet = Fleet(network, {**KEYS, "AWS_ENDPOINT_URL": endpoint}, skew, bad_link=bad_link)
        reference = str(network.folder / "undisturbed")
        result = Trial(fleet, local, reference, work / "undisturbed.log").run(-1, None)
        if not result.problems:
            result.problems, _ = local.problems(reference, reference)
        total = local.done(reference)
        print(f"undisturbed: {total} done, {result.seconds:.0f} s, see {work}", flush=True)
        if result.problems:
            print(f"it went wrong: {'; '.join(result.problems)}")
            return None
        for seed in seeds:
            fleet.restore()
            fault, remote = draw(seed, total, tuple(local.roles))
            out = f"s3://{BUCKET}/run-{seed}" if remote else str(network.folder / f"run-{seed}")
            result = Trial(fleet, far if remote else local, out, work / f"run-{seed}.log").run(seed, fault)
            fleet.mend()
            if not result.problems:
                result.problems, result.units = local.problems(out, reference)
            result.kind += " s3" if remote else " nfs"
            print(result, flush=True)
            results.append(result)
            for link in fleet.bad_links:
                if link.host.alive:
                    counts = link.counts()
                    print(f"  link of {link.host.name} so far: {counts[0]} connections, {counts[1]} of them broken")
    return results


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the next ones count on from it")
    parser.add_argument("--photos", type=int, default=192, help=f"a multiple of {BLOCK}, as all blocks must be equal")
    parser.add_argument("--skew", type=float, default=0.0, help="minutes by which a worker's clock is ahead (faketime)")
    parser.add_argument("--bad-link", action="store_true", help="all that a worker says and hears is late, or breaks")
    parser.add_argument("--json", type=Path, help="write the results there")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with what is to be removed
    os.environ.pop("RAY_ADDRESS", None)
    work = Path(tempfile.mkdtemp(prefix="hosts-chaos-"))
    seeds = range(words.seed, words.seed + words.runs)
    results = run_all(words.photos // BLOCK * BLOCK, seeds, work, words.skew, bad_link=words.bad_link)
    if results is None:
        return 2
    if words.json is not None:
        words.json.write_text(json.dumps([asdict(each) for each in results], indent=2))
    bad, again = [each.seed for each in results if each.problems], sum(len(each.codes) - 1 for each in results)
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(Counter(each.kind for each in results).items()))
    told = f"index on hosts: {len(results)} runs ({kinds}), {again} resubmissions"
    print(f"{told}, {len(bad)} violations {bad or ''}".rstrip())
    if not bad:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

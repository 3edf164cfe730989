"""A simulation of Ray Data's scheduling in discrete events: reading, stages of actors, files, and what fails."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from pipeline.simulation.workload import Simulated, Workload

AHEAD = 2
"""Blocks that an actor has at most, the one that it works on included (`max_tasks_in_flight_per_actor`)."""
_READ_AHEAD = 2
"""Blocks per actor of a stage that are read or made before they are needed."""


class _Worker:
    """An actor, and the blocks that it has: (photos, node that holds them)."""

    __slots__ = ("blocks", "generation", "node", "seconds", "since", "up")

    def __init__(self, seconds: float, node: int) -> None:
        self.seconds, self.node = seconds, node
        self.blocks: deque[int] = deque()
        self.generation, self.since, self.up = 0, 0.0, True


class _Simulation:
    """One run; `run` simulates it."""

    def __init__(self, work: Workload) -> None:
        self.work, self.costs = work, work.overheads
        self.random = random.Random(work.failures.seed)  # noqa: S311
        self.now = self.driver_free = self.driver_busy = self.lost = 0.0
        self.first = self.last = 0.0
        self.committed = self.repeated = self.failed = self.blocks_read = self.files = self.attempts = 0
        self.busy = [0.0] * len(work.stages)
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.workers = [[_Worker(actor.seconds, actor.node) for actor in stage] for stage in work.stages]

    def run(self) -> Simulated:
        """Simulates it to its end."""
        failures = self.work.failures
        self._begin()
        for at, stage, number in failures.killed:
            self._push(at, self._kill, self.workers[stage][number])
        if failures.nodes:
            self._push(self.random.expovariate(failures.nodes / 3600 * self.work.nodes), self._fail_node)
        if failures.driver:
            self._push(self.random.expovariate(failures.driver / 3600), self._fail_driver)
        while self.committed < self.work.photos:
            self.now, _, call, arguments = heapq.heappop(self.events)
            call(*arguments)
        return Simulated(
            self.now + self.costs.end,
            self.now - self.first,
            tuple(self.busy),
            self.driver_busy,
            self.repeated,
            self.lost,
            self.failed,
            self.attempts,
            self.blocks_read,
            self.files,
        )

    def _begin(self) -> None:
        """Starts the command, for the first time or again: what is not committed is read."""
        self.attempts += 1
        self.attempt = self.attempts
        self.unread, self.reading = self.work.photos - self.committed, 0
        self.queues: list[deque[int]] = [deque() for _ in self.work.stages]
        self.free: list[list[deque[_Worker]]] = []
        for stage in self.workers:
            for worker in stage:
                worker.blocks.clear()
                worker.generation += 1
                worker.up = True
            self.free.append([deque(stage), deque()])  # actors without a block, and with one
        self.written: list[tuple[int, int]] = []  # blocks that wait for a file, and the nodes that hold them
        self.waiting = self.in_files = 0
        begun = self.now + self.costs.start + self.work.listing
        self.driver_free = begun
        self.first = self.first or begun
        self._push(begun, self._resume, self.attempts)

    def _resume(self, attempt: int) -> None:
        if attempt == self.attempt:
            self._read()

    def _push(self, at: float, call: Callable[..., None], *arguments: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, call, arguments))

    def _driver(self) -> float:
        """When the driver, which does one thing after the other, has started a task."""
        self.driver_free = max(self.now, self.driver_free) + self.costs.driver
        self.driver_busy += self.costs.driver
        return self.driver_free

    def _read(self) -> None:
        most = _READ_AHEAD * len(self.workers[0])
        while self.unread and self.reading < self.work.readers and self.reading + len(self.queues[0]) < most:
            photos = min(self.unread, self.work.block_rows)
            self.unread -= photos
            self.reading += 1
            self.blocks_read += 1
            self._push(self._driver() + photos * self.work.read_seconds, self._block_read, self.attempt, photos)

    def _block_read(self, attempt: int, photos: int) -> None:
        if attempt == self.attempt:
            self.reading -= 1
            self.queues[0].append(photos)
            self._dispatch(0)

    def _dispatch(self, stage: int) -> None:
        """Gives blocks to the actors that have the fewest."""
        queue = self.queues[stage]
        for load, free in enumerate(self.free[stage]):
            while queue and free and self._has_room(stage + 1):
                worker = free.popleft()
                if not worker.up or len(worker.blocks) != load:
                    continue  # it has more or fewer by now, and is listed there
                worker.blocks.append(queue.popleft())
                ready = self._driver()
                if load == 0:
                    self._start(stage, worker, ready)
                if load + 1 < AHEAD:
                    self.free[stage][load + 1].append(worker)
        if stage:
            self._dispatch(stage - 1)  # which may have waited for room
        else:
            self._read()

    def _has_room(self, stage: int) -> bool:
        """Whether results may still be made for a stage: Ray holds stages back whose results nobody takes."""
        return stage == len(self.queues) or len(self.queues[stage]) < _READ_AHEAD * len(self.workers[stage])

    def _start(self, stage: int, worker: _Worker, at: float) -> None:
        worker.since = at
        ends = at + self.costs.block + worker.blocks[0] * worker.seconds
        self._push(ends, self._block_done, stage, worker, worker.generation)

    def _block_done(self, stage: int, worker: _Worker, generation: int) -> None:
        if generation != worker.generation:
            return  # it was lost meanwhile
        photos = worker.blocks.popleft()
        self.busy[stage] += self.now - worker.since
        if worker.blocks:
            self._start(stage, worker, self.now)
        self.free[stage][len(worker.blocks)].append(worker)
        if stage + 1 < len(self.work.stages):
            self.queues[stage + 1].append(photos)
            self._dispatch(stage + 1)
        else:
            self.written.append((photos, worker.node))
            self.waiting += photos
            self._write()
        self._dispatch(stage)

    def _write(self) -> None:
        """Writes a file once there are blocks enough, or no more to come."""
        waiting = self.waiting
        if waiting and (waiting >= self.work.file_rows or waiting + self.in_files + self.committed == self.work.photos):
            self.written.clear()
            self.waiting = 0
            self.in_files += waiting
            self._push(self._driver() + self.costs.file, self._commit, self.attempt, waiting)

    def _commit(self, attempt: int, photos: int) -> None:
        if attempt == self.attempt:
            self.in_files -= photos
            self.committed += photos
            self.files += 1

    def _kill(self, worker: _Worker, down: float = 0.0) -> None:
        """Loses an actor: Ray repeats its blocks in the process that takes its place."""
        stage = next(number for number, workers in enumerate(self.workers) if worker in workers)
        self.failed += 1
        if worker.blocks:
            self.lost += max(0.0, self.now - worker.since)
            self.repeated += worker.blocks[0]
        worker.generation += 1
        worker.up = False
        self._push(self.now + down + self.costs.restart, self._back, stage, worker, worker.generation)

    def _back(self, stage: int, worker: _Worker, generation: int) -> None:
        if generation != worker.generation:
            return  # the whole command has begun again
        worker.up = True
        if worker.blocks:
            self._start(stage, worker, self._driver())
        if len(worker.blocks) < AHEAD:
            self.free[stage][len(worker.blocks)].append(worker)
        self._dispatch(stage)

    def _fail_node(self) -> None:
        """Loses a machine, with its actors and the results on it that are in no file yet."""
        node = self.random.randrange(self.work.nodes)
        held = [photos for photos, where in self.written if where == node]
        self.written = [(photos, where) for photos, where in self.written if where != node]
        self.unread += sum(held)
        self.waiting -= sum(held)
        self.repeated += sum(held)
        self.lost += sum(held) * sum(stage[0].seconds for stage in self.work.stages)
        before = self.failed
        for workers in self.workers:
            for worker in workers:
                if worker.node == node and worker.up:
                    self._kill(worker, self.work.failures.replaced)
        self.failed = before + 1
        self._read()
        rate = self.work.failures.nodes / 3600 * self.work.nodes
        self._push(self.now + self.random.expovariate(rate), self._fail_node)

    def _fail_driver(self) -> None:
        """Loses all that is not committed; the same command begins again."""
        self.failed += 1
        half_done = self.waiting + self.in_files
        half_done += sum(sum(worker.blocks) for workers in self.workers for worker in workers)
        self.repeated += half_done
        self.lost += half_done * sum(stage[0].seconds for stage in self.work.stages)
        self._begin()
        self._push(self.now + self.random.expovariate(self.work.failures.driver / 3600), self._fail_driver)


def simulate(work: Workload) -> Simulated:
    """Simulates one run to its end."""
    return _Simulation(work).run()

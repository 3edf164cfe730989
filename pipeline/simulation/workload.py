"""What is simulated, photos, actors, failures, and what a run costs beside its work; and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Overheads:
    """Seconds that a run takes beside the work of its stages.

    The defaults were measured on two cores, by the script `tests.simulation.real_runs`.

    Attributes:
        start: from the start of the command until its actors are up, without listing the source.
        block: of an actor for each block, beside its work.
        driver: of the driver for each task: one core does this for all.
        file: of writing a file and committing it.
        end: from the last file to the end of the command.
        restart: from the loss of an actor until another one has loaded its model.
    """

    start: float = 12.0
    block: float = 0.05
    driver: float = 0.008
    file: float = 0.3
    end: float = 2.0
    restart: float = 10.0


@dataclass(frozen=True)
class Actor:
    """An actor of a stage.

    Attributes:
        seconds: for a photo, beside other actors on the same GPU.
        node: number of the machine that it is on.
    """

    seconds: float
    node: int = 0


@dataclass(frozen=True)
class Failures:
    """What fails.

    Attributes:
        nodes: failures of a machine per hour; a tenth means that each fails every ten hours.
        driver: failures of the driver's machine per hour.
        replaced: seconds until a failed machine is replaced.
        killed: actors that are killed: (seconds after the start of the command, stage, actor).
        seed: of the times at which machines fail.
    """

    nodes: float = 0.0
    driver: float = 0.0
    replaced: float = 300.0
    killed: tuple[tuple[float, int, int], ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Workload:
    """One run.

    Attributes:
        photos: to index.
        stages: the actors of each stage, in the order in which photos pass them.
        block_rows: photos per block, the unit of work.
        file_rows: photos per file, the unit of commitment.
        readers: blocks that are read at the same time.
        read_seconds: of a reader for a photo.
        listing: seconds of listing the source, at the start of each attempt of the command.
        overheads: see there.
        failures: see there.
    """

    photos: int
    stages: tuple[tuple[Actor, ...], ...]
    block_rows: int = 64
    file_rows: int = 8192
    readers: int = 4
    read_seconds: float = 0.0
    listing: float = 0.0
    overheads: Overheads = field(default_factory=Overheads)
    failures: Failures = field(default_factory=Failures)

    @property
    def nodes(self) -> int:
        """Machines that the actors are on."""
        return 1 + max(actor.node for stage in self.stages for actor in stage)


@dataclass(frozen=True)
class Simulated:
    """What a simulated run took.

    Attributes:
        seconds: wall-clock time.
        working: of these, between the start of the actors' work and the last file.
        busy: stage -> seconds of work, summed over its actors.
        driver_busy: seconds in which the driver was at work.
        repeated: photos that were read again, since they or their results were lost.
        lost: seconds of actors on work that was lost.
        failures: actors, machines and drivers that failed.
        attempts: times that the command was started.
        blocks: that were read.
        files: that were written.
    """

    seconds: float
    working: float
    busy: tuple[float, ...]
    driver_busy: float
    repeated: int
    lost: float
    failures: int
    attempts: int
    blocks: int
    files: int

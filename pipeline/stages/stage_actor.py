"""The actor in which stages run. It imports their classes itself, so that a driver loads no model library."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.workers.reporting import Reporter
    from pipeline.workers.worker import Worker


@dataclass(frozen=True)
class Step:
    """One stage of an actor.

    Attributes:
        stage: its class, as `module:Class`: a `PhotoStage`.
        arguments: the first arguments of the class; a `Worker` and a `Reporter` come after them.
        options: its keyword arguments.
    """

    stage: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.stage.partition(":")[2]

    def start(self, worker: Worker, reporter: Reporter) -> Any:
        """Imports the class and makes an instance, which loads its model."""
        return pkgutil.resolve_name(self.stage)(*self.arguments, worker, reporter, **self.options)


class StageActor:
    """Passes tables of photos through stages, one after the other in the same process.

    Several stages in one process load their shared libraries once, and no stage waits while another one works: without
    GPUs this starts sooner and wastes no core.

    Args:
        steps: the stages, in order.
        worker: how each of them works.
        reporter: where they report.
    """

    def __init__(self, steps: Sequence[Step], worker: Worker, reporter: Reporter) -> None:
        self.stages = [step.start(worker, reporter) for step in steps]

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table as the last stage returns it."""
        for stage in self.stages:
            table = stage(table)
        return table


def stage_actor(steps: Sequence[Step]) -> type[StageActor]:
    """A `StageActor` that Ray's messages call by the names of its stages."""
    return type("_".join(step.name for step in steps), (StageActor,), {"__doc__": StageActor.__doc__})

"""From options to simulated runs: their layout is what `qpert index` itself would plan for these machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool
from pipeline.datasets.photos.found_photos import Listing
from pipeline.errors import QpertError
from pipeline.features.file_sizes import ROW_BYTES
from pipeline.features.store import FeatureStore
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.graph import IO_CPUS
from pipeline.runs.index_plan import IndexPlan, Layout
from pipeline.runs.resume import Resume
from pipeline.runs.spec import IndexSpec
from pipeline.simulation.events import simulate
from pipeline.simulation.options import SimulateConfig, by_name
from pipeline.simulation.workload import Actor, Failures, Simulated, Workload

_SIMULATED = 25
"""Parts that are simulated, each with failures of its own; further ones are taken to be like them."""
_CONCURRENT = 16
"""Photos in files of their own that a reader reads at the same time."""


@dataclass(frozen=True)
class SimulatedPlan:
    """All parts of some photos, simulated.

    Attributes:
        photos: how many there are.
        machines: of one part.
        layout: of one part.
        row_bytes: of a photo in the features.
        runs: what each part took.
        at_once: parts at the same time.
    """

    photos: int
    machines: Machines
    layout: Layout
    row_bytes: int
    runs: tuple[Simulated, ...]
    at_once: int

    @property
    def seconds(self) -> float:
        """From the first part to the last: a part begins when another one ends."""
        free = [0.0] * self.at_once
        for run in self.runs:
            free.sort()
            free[0] += run.seconds
        return max(free)


def simulate_plan(
    spec: IndexSpec, options: SimulateConfig, photos: int, done: Callable[[int], object] = lambda parts: None
) -> SimulatedPlan:
    """Simulates indexing.

    Args:
        spec: the options of `qpert index`; no source is read.
        options: machines, speeds and failures.
        photos: how many there are.
        done: called with the number of parts that are simulated.

    Raises:
        QpertError: a GPU without a speed, or options that do not fit.
    """
    gpus, encode, detect = (by_name(texts) for texts in (options.gpus, options.encode, options.detect))
    for flag, rates in (("encode", encode), ("detect", detect)):
        if missing := [kind for kind in gpus if kind not in rates and (rates or flag == "encode")]:
            raise QpertError(f"--simulate.{flag} does not say how many photos per second {', '.join(missing)} takes")
    of_part = Counter({kind: int(count) // options.at_once for kind, count in gpus.items()})
    if not all(of_part.values()):
        raise QpertError(f"--simulate.at-once {options.at_once}: more parts than GPUs of a type")
    nodes = sum(-(-count // options.per_node) for count in of_part.values())
    machines = Machines(float(nodes * options.cores), of_part, nodes=nodes)
    each = -(-photos // options.parts)
    spec = spec if detect else spec.model_copy(update={"detector": spec.detector.model_copy(update={"model": "none"})})
    encoder = EncoderChoice.of(spec.encoder, spec.weights, spec.image_size)
    plan = IndexPlan(spec, FeatureStore("simulated"), Listing("folder", "simulated", lambda: iter(())), encoder)
    layout = plan.layout(Resume(None, each, 0, 0, plan.photos), machines, spec.accelerators)
    stages = tuple(
        _actors(pool, machines, options.per_node, encode if stage == "encode" else detect)
        for stage, pool in layout.pools.items()
    )
    reserved = sum(pool.size * pool.num_cpus for pool in layout.pools.values())
    runs = []
    for part in range(min(options.parts, _SIMULATED)):
        rate, seed = options.failures / 24, options.seed + part
        failures = Failures(nodes=rate, driver=rate, replaced=60 * options.replaced, seed=seed)
        work = Workload(
            photos=each,
            stages=stages,
            block_rows=layout.block_rows,
            file_rows=layout.file_rows,
            readers=max(1, int((machines.cpus - reserved) / IO_CPUS)),
            read_seconds=read_seconds(options),
            listing=each / options.listed if not options.tars else 0.0,
            failures=failures,
        )
        runs.append(simulate(work))
        done(len(runs))
    precision = 2 if spec.precision == "float16" else 4
    row_bytes = ROW_BYTES + precision * encoder.values
    runs = [runs[part % len(runs)] for part in range(options.parts)]
    return SimulatedPlan(photos, machines, layout, row_bytes, tuple(runs), options.at_once)


def read_seconds(options: SimulateConfig) -> float:
    """Of a reader for a photo: files of their own are asked for concurrently, a tar is read in one go."""
    transfer = options.photo_size / 1000 / options.bandwidth
    return transfer if options.tars else transfer + options.latency / 1000 / _CONCURRENT


def _actors(pool: Pool, machines: Machines, per_node: int, rates: Mapping[str, float]) -> tuple[Actor, ...]:
    """The actors of a pool, one on each GPU, or on some of each type if there are fewer."""
    kinds = list(chain.from_iterable([kind] * count for kind, count in machines.gpus.items()))
    chosen = [number * len(kinds) // pool.size for number in range(pool.size)]
    return tuple(Actor(1 / rates[kinds[gpu]], gpu // per_node) for gpu in chosen)

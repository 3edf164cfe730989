"""The report of `qpert benchmark gpu`, for people and, field by field, for its JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.benchmarks.gpu.decoding import DecodingRates
from pipeline.benchmarks.gpu.fitting import Fitting
from pipeline.benchmarks.gpu.parity import Parity
from pipeline.benchmarks.gpu.passes import EncoderPasses
from pipeline.benchmarks.gpu.solvers import SolverResult

PUBLISHED = {"open_clip ViT-B-32": 2500, "open_clip ViT-L-14": 312}
"""Photos per second of clip-retrieval on one A100, by its README, decoding included."""


@dataclass(frozen=True)
class FamilyResult:
    """One encoder in one dtype.

    Attributes:
        name: of the encoder and its model.
        dtype: of the model.
        estimate: bytes that the project expects it to take, weights and working memory.
        passes: None where it was not measured.
        left_out: why; "" if it was measured.
    """

    name: str
    dtype: str
    estimate: int
    passes: EncoderPasses | None = None
    left_out: str = ""


@dataclass
class GpuReport:
    """What was measured on one device.

    Attributes:
        device: its name.
        torch: version, and of CUDA or ROCm.
        memory: bytes.
        rehearsal: whether this was the CPU with small models, whose figures say nothing about GPUs.
        objects: boxes per photo.
        families: the encoders.
        parity: against the CPU.
        solvers: eigendecompositions.
        decoding: photos decoded; None if that failed.
        fitting: micro-batches; None if that failed.
        problems: part -> why it has no figures.
        seconds: that all of it took.
    """

    device: str
    torch: str
    memory: int
    rehearsal: bool
    objects: int
    families: list[FamilyResult] = field(default_factory=list)
    parity: list[Parity] = field(default_factory=list)
    solvers: list[SolverResult] = field(default_factory=list)
    decoding: DecodingRates | None = None
    fitting: Fitting | None = None
    problems: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.device}, {self.memory / 2**30:.0f} GiB, torch {self.torch}; {self.seconds:.0f} s"
        if self.rehearsal:
            yield "A REHEARSAL with small models on the CPU: these figures say nothing about GPUs"
        yield from self._solver_lines()
        yield from self._parity_lines()
        yield from self._decoding_lines()
        yield from self._fitting_lines()
        yield f"passes from pixels to vectors, random weights, {self.objects} objects"
        for result in self.families:
            yield from _family_lines(result)
        yield from (f"NOT MEASURED: {part}: {reason}" for part, reason in self.problems.items())

    def _solver_lines(self) -> Iterator[str]:
        if self.solvers:
            yield "eigendecompositions      ms a call    us each   with check   V'V - I   residual   wrong"
        for one in self.solvers:
            yield (
                f"  {one.batch:>6,} x {one.size:>3} x {one.size:<3}"
                f"  {one.milliseconds:>12.3f} {one.microseconds:>10.1f}"
                f" {one.checked:>9.3f} ms  {one.orthonormality:>8.1e}   {one.residual:>8.1e}  {one.wrong:>6,}"
            )

    def _parity_lines(self) -> Iterator[str]:
        if self.parity:
            yield "against the CPU in float32, largest 1 - cosine     plain   perturbed"
        for one in self.parity:
            yield f"  {one.encoder + ' miniature, ' + one.dtype:<44} {one.plain:>8.1e} {one.perturbed:>10.1e}"

    def _decoding_lines(self) -> Iterator[str]:
        if (rates := self.decoding) is None:
            return
        by_threads = ", ".join(f"{count}: {rate:,.0f}" for count, rate in rates.by_threads.items())
        yield f"decoding {rates.jpeg // 1000} kB JPEGs, photos/s by CPU threads   {by_threads} (of {rates.cores} cores)"
        yield f"  nvJPEG   {f'{rates.nvjpeg:,.0f} photos/s' if rates.nvjpeg else f'not measured: {rates.without}'}"

    def _fitting_lines(self) -> Iterator[str]:
        if (one := self.fitting) is None:
            return
        ran_out = "never ran out" if one.refused is None else f"ran out at {one.refused}"
        sizes = f", went on with {', '.join(map(str, one.sizes))}" if one.sizes else ""
        yield f"micro-batches: {one.planned} planned, {one.measured} fit, memory {ran_out}{sizes}"
        yield (
            f"  {'every photo got its result' if one.recovered else 'PHOTOS WERE LOST'};"
            f" {one.left / 2**20:,.0f} MiB left behind"
        )


def _family_lines(result: FamilyResult) -> Iterator[str]:
    name = f"  {result.name}, {result.dtype}"
    if (passes := result.passes) is None:
        yield f"{name}: left out: {result.left_out}"
        return
    best = passes.best
    rates = ", ".join(f"{rate.batch}: {rate.plain:,.1f}" for rate in passes.rates)
    yield f"{name}: photos/s by batch   {rates}{f' ({passes.ended})' if passes.ended else ''}"
    if best.perturbed is not None:
        yield f"    perturbed, batch of {best.batch}: {best.perturbed:,.1f} photos/s"
    if result.name in PUBLISHED:
        yield f"    clip-retrieval on an A100, decoding included: {PUBLISHED[result.name]:,} photos/s"
    peak = "" if best.peak is None else f", {best.peak / 2**30:.2f} GiB more at the peak of {best.batch} photos"
    weights, estimate = passes.weights / 2**30, result.estimate / 2**30
    yield f"    memory: weights {weights:.2f} GiB{peak}; estimate {estimate:.2f} GiB for the first few"
    if (parts := passes.parts) is not None:
        yield (
            f"    Q-Perturbation, ms a photo in batches of {parts.batch}: Gram {parts.gram:.3f},"
            f" eigendecomposition {parts.eigen:.3f} ({parts.matrices:.0f} matrices), operator {parts.operator:.3f},"
            f" application {parts.application:.3f}; {parts.share:.1%} of the whole (plain {parts.plain:.2f})"
        )

"""What a run of indexing says when it is done, and what it would do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from pipeline.cluster.machines import Machines
from pipeline.datasets.photos.skipped import Skipped
from pipeline.features.compacting import Compacted
from pipeline.features.damage import Damage
from pipeline.features.fingerprint import fingerprint
from pipeline.printing import printable
from pipeline.runs.index_plan import IndexPlan
from pipeline.runs.named_photos import annotation_remarks, failure_lines
from pipeline.runs.outcome import Outcome, Report
from pipeline.runs.progress import device_report, gpu_warning, summary
from pipeline.runs.resume import Resume
from pipeline.runs.run_stats import RunStats
from pipeline.runs.spec import OBJECTS


def report(
    plan: IndexPlan, resume: Resume, outcome: Outcome, *, keep_removed: bool, pruned: Compacted | None
) -> Report:
    """Puts an outcome into words.

    Args:
        plan: what was to be done.
        resume: what was done before.
        outcome: what was done now.
        keep_removed: photos that the source no longer has stay in use.
        pruned: what compaction did.
    """
    spec, totals, counts = plan.spec, outcome.totals, outcome.counts
    source = [*left_out(resume.photos.skipped), *source_changes(resume, keep_removed=keep_removed)]
    lines, warnings = [f"nothing to do: all {resume.total or 0:,} photos are indexed"], list[str | None]()
    if outcome.machines is not None:
        devices, differ = device_report(counts, spec.device_tolerance)
        attempts = f"        (since attempt {outcome.attempts} began; the totals are below)"
        lines = [summary(counts, outcome.seconds), *([attempts] if outcome.attempts > 1 else [])]
        lines += [devices] if devices else []
        warnings += [
            differ,
            *wrong_decompositions(counts),
            gpu_warning(counts, outcome.machines.gpus, spec.accelerators),
        ]
    if pruned is not None:
        source.append(f"pruned  {pruned.dropped:,} rows from {pruned.before:,} files")
    embedded = totals["photos"] - totals["failed"]
    holds = f"{plan.store.root} holds {embedded:,} photos with {totals['objects']:,} objects"
    if plan.perturbs and embedded and not totals["objects"]:
        warnings.append(
            "NO OBJECTS in any photo, so Q-Perturbation changed nothing; is this the right detector"
            f" ({spec.detector.model}), and do its annotations have these photos' names?"
        )
    files = plan.store.files(fingerprint(plan.identity))
    if spec.detector.annotations and spec.detector.model == "annotated":
        warnings += annotation_remarks(files, spec.detector.annotations)
    named = failure_lines(files, totals["failed"], plan.store.root)
    failures = f"{totals['failed']:,} photos could not be indexed; the column error of {plan.store.root} says why"
    return Report(
        [*lines, *source, holds, *named], source, [*filter(None, warnings)], failures if totals["failed"] else None
    )


def wrong_decompositions(stats: RunStats) -> list[str]:
    """A line for each kind of device whose eigendecompositions were wrong and had to be repeated."""
    return [
        f"{wrong:,} of {checked:,} eigendecompositions on {device} were wrong and were repeated on the CPU: the"
        " features are right, the run was slower; qpert benchmark gpu shows which batches fail, a newer torch may not"
        for device, (checked, wrong) in stats.decompositions.items()
        if wrong
    ]


def describe(plan: IndexPlan, resume: Resume, machines: Machines, *, keep_removed: bool) -> str:
    """What a run on `machines` would do."""
    spec = plan.spec
    layout = plan.layout(resume, machines, spec.accelerators)
    count = "counted while they are read" if resume.total is None else f"{resume.total:,} photos"
    models = {"detect": spec.detector.model, "encode": f"{spec.encoder}, {spec.weights or 'miniature'}"}
    shared = [pool for pool in layout.pools.values() if pool.shared]
    perturbation = plan.identity["perturbation"] or {}
    classes = spec.detector.classes
    lines = {
        "source": f"{spec.source}: {resume.photos.kind}, {count}",
        "machines": str(machines),
        "read": f"blocks of {layout.block_rows} photos",
        **{stage: f"{pool} ({models[stage]})" for stage, pool in layout.pools.items() if not pool.shared},
        **({"detect+encode": f"{shared[0]} ({'; '.join(models.values())})"} if shared else {}),
        **({"classes": f"{len(classes):,}: {', '.join(classes)}"} if classes else {}),
        "write": f"{plan.store.root}/features: files of {layout.file_rows:,} photos, {spec.precision}",
        "perturbation": ", ".join(f"{name} {value}" for name, value in perturbation.items()) or "none",
        **_further(plan),
        "fingerprint": fingerprint(plan.identity),
        "output": "new" if resume.manifest is None else f"{resume.manifest.state}, {resume.done:,} photos are done",
    }
    if changes := source_changes(resume, keep_removed=keep_removed):
        lines["changes"] = "; ".join(changes)
    if resume.lost:
        lines["lost"] = lost_text(resume.lost)
    lines["to do"] = "unknown before reading" if resume.todo is None else f"{resume.todo:,} photos"
    named = (f"{name:<13} {printable(text)}" for name, text in lines.items())
    return "\n".join([*named, *left_out(resume.photos.skipped, 13)])


def _further(plan: IndexPlan) -> dict[str, str]:
    """Further views and another resolution, and what they cost; nothing without them."""
    spec, multi = plan.spec, plan.spec.multi
    lines = {} if spec.image_size is None else {"resolution": f"{spec.image_size} pixels"}
    if multi.kinds:
        passes = f"{multi.cuts:,} further tower passes" if multi.cuts else "no further tower pass"
        most = " at most" if "crops" in multi.kinds else ""
        about = multi.expected(OBJECTS)
        lines["views"] = f"{', '.join(multi.kinds)}: some {about:,} more vectors per photo, {passes}{most}"
    return lines


def left_out(skipped: Skipped, width: int = 8) -> list[str]:
    """A line for each reason why files of the source are not read, with the names of the first ones."""
    titles = chain(["left out"], repeat(""))
    return [f"{title:<{width}} {printable(line)}" for title, line in zip(titles, skipped.lines(), strict=False)]


def source_changes(resume: Resume, *, keep_removed: bool) -> list[str]:
    """A line each for photos that have changed since they were indexed, are gone, or are back."""
    gone = "kept   " if keep_removed else "left out"
    lines = [
        (resume.changed, f"changed {resume.changed:,} photos since they were indexed; their old rows no longer count"),
        (resume.restored, f"back    {resume.restored:,} photos that the source did not have the last time"),
        (resume.removed, f"{gone} {resume.removed:,} indexed photos that the source no longer has"),
    ]
    return [line for count, line in lines if count]


def lost_text(lost: Sequence[Damage]) -> str:
    """Names the files of features whose photos are indexed again, because they are lost or damaged."""
    rows = [damage.rows for damage in lost]
    photos = "the photos" if None in rows else f"{sum(row or 0 for row in rows):,} photos"
    named = ", ".join(map(str, lost[:3])) + (", ..." if len(lost) > 3 else "")
    return f"{photos} of {len(lost):,} lost or damaged files are made again: {named}"

"""Feature sets with several embeddings of each photo, one for each of some settings."""

from __future__ import annotations

from pipeline.runs.index_run import IndexRun
from pipeline.runs.report import say
from pipeline.runs.spec import IndexSpec, Variants


def index_variants(spec: IndexSpec, variants: Variants, *, begun: bool = False) -> int:
    """Indexes what is not indexed yet, and prints what should not be overlooked.

    Args:
        spec: source, output, encoder and detector; its own perturbation is not used.
        variants: the embeddings to make.
        begun: the command has found all GPU types of `spec.accelerators` before: those that are left will do.

    Returns:
        How many photos passed the backbone.
    """
    outcome = IndexRun(spec, variants, begun=begun).run()
    report = outcome.report
    for line in report.source:
        say(f"{spec.out}: {line}")
    for line in (*report.warnings, *filter(None, [report.failures])):
        say(line)
    return outcome.counts.photos

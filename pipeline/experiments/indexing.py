"""Feature sets with several embeddings of each photo, one for each of some settings."""

from __future__ import annotations

import logging

from pipeline.runs.index_run import IndexRun
from pipeline.runs.spec import IndexSpec, Variants

logger = logging.getLogger(__name__)


def index_variants(spec: IndexSpec, variants: Variants, *, begun: bool = False) -> int:
    """Indexes what is not indexed yet, and logs what should not be overlooked.

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
        logger.info(f"{spec.out}: {line}")
    for line in (*report.warnings, *filter(None, [report.failures])):
        logger.warning(line)
    return outcome.counts.photos

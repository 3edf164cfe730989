"""`pipeline.build_index`: an index of a feature set, with which `pipeline.search` answers in milliseconds."""

from __future__ import annotations

import os
import warnings
from typing import Any

from pipeline.api.options import check_options
from pipeline.building.build_report import BuildReport
from pipeline.building.building_sets import build_indexes
from pipeline.building.spec import BuildSpec, Kind
from pipeline.features.feature_set import FeatureSet


def build_index(
    features: FeatureSet | str | os.PathLike[str], *, kind: Kind = "auto", rebuild: bool = False, **options: Any
) -> BuildReport:
    """Builds the index of a feature set, or brings it up to date, like ``qpert build-index``.

    The work is done in this process while that takes less than a few minutes, else on Ray, started here; in the session
    or cluster that is there already (`ray.init`, RAY_ADDRESS, `address`), always there.

        report = pipeline.build_index("features/", kind="ivf-sq8")
        report.photos, report.bytes, report.seconds

    Args:
        features: a feature set, or its path or URI.
        kind: `exact`, `ivf-sq8`, `ivf-pq`, `ivf-rabitq`, `photo-pq`, or `auto` for one by the size of the set.
        rebuild: train anew and make all shards again.
        options: further fields of `pipeline.building.spec.BuildSpec`, the options of ``qpert build-index``, such as
            `lists`, `probes`, `keep_vectors` or `engine`.

    Returns:
        What was done.

    Raises:
        QpertError: wrong options, no features, files that are lost or damaged, another build of the same index, or no
            room on the disk.
    """
    root = os.fspath(features.root if isinstance(features, FeatureSet) else features)
    if isinstance(features, FeatureSet) and features.manifest.variants:
        options = {"variant": features.manifest.variants[features.variant], **options}
    [report] = build_indexes(check_options(BuildSpec, features=[root], kind=kind, rebuild=rebuild, **options))
    for note in report.notes:
        warnings.warn(note, stacklevel=2)
    return report

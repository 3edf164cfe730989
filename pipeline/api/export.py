"""`pipeline.export`: features in the forms of other tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipeline.api.options import check_options
from pipeline.errors import QpertError
from pipeline.exports.exporting import Export
from pipeline.exports.spec import ExportSpec, Target
from pipeline.features.feature_set import FeatureSet

Features = FeatureSet | str | os.PathLike[str]


def export(
    features: Features | Sequence[Features], to: Target, out: str | os.PathLike[str], **options: Any
) -> dict[str, Any]:
    """Writes features for LanceDB, FAISS, NumPy, Hugging Face datasets or as a table, like ``qpert export``.

        pipeline.export("features/", "lance", "photos.lance")
        pipeline.export(["january/", "february/"], "faiss", "index/", columns=["uri", "taken"])

    Args:
        features: a feature set, its path or URI, or a pattern; or several of them, of different photos and the same
            encoder.
        to: `lance`, `faiss`, `npy`, `hf` or `csv`.
        out: folder (csv: file) to write.
        options: further fields of `pipeline.exports.spec.ExportSpec`, the options of ``qpert export``.

    Returns:
        What the export is of: what export.json holds.

    Raises:
        QpertError: wrong options, sets that do not fit together, or something is in the way at `out`.
    """
    several = [features] if isinstance(features, FeatureSet | str | os.PathLike) else list(features)
    variants = {_variant(one) for one in several if isinstance(one, FeatureSet)}
    if len(variants) > 1:
        raise QpertError("the feature sets were opened with different variants; open all with the same")
    roots = [one.root if isinstance(one, FeatureSet) else os.fspath(one) for one in several]
    chosen = {"variant": next(iter(variants), None), **options}
    planned = Export.plan(check_options(ExportSpec, features=roots, to=to, out=out, **chosen))
    planned.write()
    return planned.about()


def _variant(features: FeatureSet) -> str | None:
    names = features.manifest.variants
    return names[features.variant] if names else None

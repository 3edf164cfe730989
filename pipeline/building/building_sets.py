"""The indexes of one or several sets: where the work is done, and one report each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.building.build import Build
from pipeline.building.build_report import BuildReport
from pipeline.building.lance_build import LanceBuild
from pipeline.building.spec import BuildSpec
from pipeline.building.work import Work, here, on_ray
from pipeline.cluster.session import has_session, ray_session
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.several_sets import find_sets

_PAYS = 180.0
"""Seconds of work from which starting Ray pays: it takes some ten, and its workers twice the memory."""


def open_builds(spec: BuildSpec) -> list[Build | LanceBuild]:
    """Opens the sets and checks the options, before any work.

    Raises:
        QpertError: no features, or options that do not fit.
    """
    roots = find_sets(spec.features)
    if spec.out is not None and spec.engine != "lance":
        raise QpertError("--out is for --engine lance; other indexes are beside their features, where search looks")
    if spec.out is not None and len(roots) > 1:
        raise QpertError("--out is for one set: each set has a table of its own")
    opened = [FeatureSet.open(root, spec.variant) for root in roots]
    if spec.engine == "lance":
        return [LanceBuild.of(features, spec) for features in opened]
    return [Build(features, spec) for features in opened]


def describe_builds(spec: BuildSpec) -> Iterator[str]:
    """What building would do, a line for each set."""
    for build in open_builds(spec):
        yield build.describe() if isinstance(build, LanceBuild) else build.describe(cores_of(spec))


def build_indexes(spec: BuildSpec) -> Iterator[BuildReport]:
    """Builds the index of each set, one after the other, and yields the reports.

    Raises:
        QpertError: see `Build.run`.
        KeyboardInterrupt: with what to do next as its text.
    """
    builds = open_builds(spec)
    try:
        with _work(spec, builds) as work:
            for build in builds:
                yield build.run(work)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to go on where it stopped") from None


def cores_of(spec: BuildSpec) -> int:
    """CPU cores of this machine that may be used."""
    return min(spec.cpus or 2**16, os.cpu_count() or 1)


@contextmanager
def _work(spec: BuildSpec, builds: list[Build | LanceBuild]) -> Iterator[Work]:
    """On Ray if there is a cluster, or if it is worth starting one here."""
    if not has_session(spec.address):
        cores = cores_of(spec)
        seconds = sum(build.seconds(cores) for build in builds)
        if cores < 2 or seconds < _PAYS:
            yield here
            return
    with ray_session(spec.address, cpus=spec.cpus, verbose=spec.verbose):
        yield on_ray

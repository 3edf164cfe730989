"""Indexing from options to a complete feature set: the one way to run the graph."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from pipeline.cluster.machines import Machines
from pipeline.cluster.session import is_local, ray_session
from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.photos.part import Part
from pipeline.datasets.scenes.recognition import are_scenes
from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.miniatures import miniatures_of, warning_of
from pipeline.features.store import FeatureStore
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.index_plan import IndexPlan, PhotoSample
from pipeline.runs.outcome import Outcome
from pipeline.runs.parts import begin_part, check_settings
from pipeline.runs.report import describe, lost_text, report
from pipeline.runs.resume import Resume, inspect, mend_earlier
from pipeline.runs.run_stats import RunStats
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.runs.status_line import Counting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexRun:
    """Indexes what is not indexed yet.

    Attributes:
        spec: what to make of which photos, where, and how.
        variants: several embeddings of each photo, in place of the one of `spec.perturbation`.
        retry_failed: index photos that failed before once more.
        keep_removed: photos that the source no longer has stay in use.
        prune: delete the rows of photos that the source no longer has, or has changed.
        begun: the command has found all GPU types of `spec.accelerators` before: those that are left will do.
        encoder: takes the place of the one that `spec` names.
        sample: takes the place of the photos that `spec` names.
        part: index only this part of the photos, into a part of the set that other runs fill as well.
    """

    spec: IndexSpec
    variants: Variants | None = None
    retry_failed: bool = False
    keep_removed: bool = False
    prune: bool = False
    begun: bool = False
    encoder: EncoderChoice | None = None
    sample: PhotoSample | None = None
    part: Part | None = None

    def __post_init__(self) -> None:
        """Refuses options that contradict each other."""
        if self.prune and self.keep_removed:
            raise QpertError("choose one of --prune and --keep-removed: photos that are gone are deleted or kept")

    def inspect(self, scratch: str) -> tuple[IndexPlan, Resume]:
        """Finds out what would be done, without writing to the output or fetching weights.

        Args:
            scratch: a local folder for the list of photos, which must last as long as the plan is used.
        """
        plan = self._plan(fetch=False)
        return plan, self._inspect(plan, scratch)

    def describe(self) -> str:
        """What would be done, in words. Ray is started only if the answer depends on a cluster or its GPU types."""
        with TemporaryDirectory(prefix="qpert-") as scratch:
            plan, resume = self.inspect(scratch)
            _warn_of_miniatures(_manifest(plan, resume))
            spec = plan.spec
            if spec.address or os.environ.get("RAY_ADDRESS") or spec.accelerators not in (None, ["none"]):
                with ray_session(spec.address, cpus=spec.cpus, verbose=spec.verbose):
                    machines = Machines.cluster()
            else:
                machines = Machines.here(spec.cpus)
            return describe(plan, resume, machines, keep_removed=self.keep_removed)

    def run(self) -> Outcome:
        """Indexes; a rerun goes on where this one stopped.

        Raises:
            QpertError: the options are wrong, a model does not work, the cluster lacks what was asked for, another run
                is writing to the output, or photos are missing in the end. What is done stays done.
            KeyboardInterrupt: with what to do next as its text.
        """
        with TemporaryDirectory(prefix="qpert-") as scratch:
            plan = self._plan(fetch=True)
            counting = Counting("files of features looked through")
            lost = mend_earlier(plan.store, plan.identity, counting)
            counting.end()
            resume = self._inspect(plan, scratch)
            resume = replace(resume, lost=(*lost, *resume.lost))
            if resume.lost:
                logger.warning(lost_text(resume.lost))
            manifest = _manifest(plan, resume)
            _warn_of_miniatures(manifest)
            if self.part is not None:
                begin_part(FeatureStore(plan.spec.out), self.part, manifest)
            resume.write(plan.store)
            if resume.manifest is not None and self.retry_failed:
                resume = self._forget_failures(plan, resume)
            if resume.todo == 0 and (resume.manifest is not None or self.part is not None):
                outcome = _confirm(plan, resume.manifest or manifest, manifest.scenes)
            else:
                outcome = self._index(plan, resume, manifest)
            resume.photos.skipped.update(outcome.counts.skipped)
            if not outcome.totals["photos"] and self.part is None:  # of tars, only reading them tells
                raise QpertError(f"{plan.spec.source} holds no photos")
            pruned = None
            if self.prune and resume.manifest is not None:
                pruned = plan.store.compact(merge=False)
            said = report(plan, resume, outcome, keep_removed=self.keep_removed, pruned=pruned)
            if self.part is not None:
                said.done.append(f"{plan.spec.out}: {FeatureStore(plan.spec.out).manifest().parts_text()}")
            said.warnings.extend(filter(None, [warning_of(manifest)]))  # last, so that it is not overlooked
            return replace(outcome, report=said)

    def _plan(self, *, fetch: bool) -> IndexPlan:
        return IndexPlan.of(
            self.spec, self.variants, encoder=self.encoder, sample=self.sample, part=self.part, fetch=fetch
        )

    def _inspect(self, plan: IndexPlan, scratch: str) -> Resume:
        if self.part is not None:
            check_settings(FeatureStore(plan.spec.out), plan.identity)
        listing, comparing = Counting("photos listed"), Counting("photos compared with their rows")
        resume = inspect(
            plan.store,
            plan.identity,
            plan.photos,
            plan.spec.limit,
            listing,
            os.path.join(scratch, "photos.parquet"),
            whole=_same_selection(plan),
            keep_removed=self.keep_removed,
            compared=comparing,
        )
        comparing.end()
        return resume

    def _forget_failures(self, plan: IndexPlan, resume: Resume) -> Resume:
        assert resume.manifest is not None
        with plan.store.lock():
            forgotten = plan.store.forget_failures(resume.manifest.fingerprint)
        logger.info(f"trying {forgotten:,} failed photos again")
        source = (resume.photos, plan.spec.limit)
        again = inspect(plan.store, plan.identity, *source, whole=False, keep_removed=self.keep_removed)
        return replace(resume, total=again.total, done=again.done)

    def _index(self, plan: IndexPlan, resume: Resume, manifest: Manifest) -> Outcome:
        from pipeline.runs.indexing import index_photos  # imports Ray, which refusals and dry runs do without

        spec = plan.spec
        plan.encoder.prepare(runs_here=is_local(spec.address))
        if resume.manifest is not None:
            logger.info(f"going on in {plan.store.root}: {resume.done:,} photos are done")
            manifest = manifest.model_copy(update={"vectors": resume.manifest.vectors, "dim": resume.manifest.dim})
        gpus = NamedGpus(spec.accelerators, spec.wait, begun=self.begun)
        return index_photos(
            lambda machines: plan.graph(resume, machines, gpus.on(machines)),
            manifest,
            plan.store,
            find_machines=gpus.find,
            todo=plan.about(resume),
            exact=resume.todo is not None,
            address=spec.address,
            cpus=spec.cpus,
            verbose=spec.verbose,
        )


def _manifest(plan: IndexPlan, resume: Resume) -> Manifest:
    """The manifest of the run, which says whether the photos are scenes if a miniature model is used."""
    manifest = plan.manifest()
    if not any(miniatures_of(manifest)):
        return manifest
    scenes = are_scenes(resume.photos)
    if scenes is None and resume.manifest is not None:  # the storage does not answer now
        scenes = resume.manifest.scenes
    return manifest.model_copy(update={"scenes": scenes})


def _warn_of_miniatures(manifest: Manifest) -> None:
    if text := warning_of(manifest):
        warnings.warn(text, stacklevel=3)


def _confirm(plan: IndexPlan, manifest: Manifest, scenes: bool | None) -> Outcome:
    """Counts what is there, where nothing is left to do: rows may have gone out of use since."""
    with plan.store.lock():
        totals = plan.store.note_committed(manifest.fingerprint).counts()
        # All of the first photos are done, which does not complete an interrupted run over more of them.
        state = manifest.state if plan.spec.limit else "complete"
        update = {"state": state, "counts": totals, "scenes": scenes}
        plan.store.write_manifest(manifest.model_copy(update=update))
    return Outcome(RunStats(), totals)


def _same_selection(plan: IndexPlan) -> bool:
    """Whether the last run chose photos by the same rules: otherwise those that are missing are not gone."""
    manifest = plan.store.find_manifest()
    return manifest is None or (plan.spec.image_key or None) == (manifest.config.get("image_key") or None)

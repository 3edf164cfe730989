"""From an `IndexSpec` to what runs: checks, identity, manifest and graph."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import Pool, plan_pools
from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.part import Part
from pipeline.datasets.photos.source import find_photos
from pipeline.detectors import (
    check_annotations,
    check_detector,
    check_shuffles,
    embed_prompts,
    load_detector,
    with_query_classes,
)
from pipeline.errors import QpertError
from pipeline.features.file_sizes import block_rows, file_rows
from pipeline.features.fingerprint import as_recorded, fingerprint
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.io.model_weights import absolute_weights
from pipeline.io.writable import check_writable
from pipeline.method.settings import Perturbation
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.identity import identity
from pipeline.runs.index_options import (
    check_multi,
    plain_only,
    shuffle_seeds,
    with_absolute_paths,
    with_recorded_default,
)
from pipeline.runs.parts import check_division
from pipeline.runs.resume import Resume
from pipeline.runs.spec import OBJECTS, IndexSpec, Variants
from pipeline.workers.worker import Worker

if TYPE_CHECKING:
    from pipeline.runs.graph import Graph


@dataclass(frozen=True)
class PhotoSample:
    """Some photos of a source, in place of all of them.

    Attributes:
        photos: the sample.
        count: photos in it; of tars, which only reading them counts, at most.
        wanted: photos that were asked for; keeps the features of samples apart from others.
    """

    photos: Listing | Shards
    count: int
    wanted: int


@dataclass(frozen=True)
class Layout:
    """How a run is spread over machines.

    Attributes:
        pools: the actors of each stage.
        block_rows: photos per block, the unit of work.
        file_rows: photos per Parquet file, the unit of commitment.
    """

    pools: Mapping[str, Pool]
    block_rows: int
    file_rows: int


@dataclass(frozen=True)
class IndexPlan:
    """A run whose options have been checked.

    Attributes:
        spec: the options, with absolute paths.
        store: the output.
        photos: what the source has.
        encoder: embeds them.
        variants: several embeddings of each photo; None for the one of `spec.perturbation`.
        sample: where `photos` come from, if they are a sample.
        part: the part of `spec.out` that `store` is, if it has several.
    """

    spec: IndexSpec
    store: FeatureStore
    photos: Listing | Shards
    encoder: EncoderChoice
    variants: Variants | None = None
    sample: PhotoSample | None = None
    part: Part | None = None

    @classmethod
    def of(
        cls,
        spec: IndexSpec,
        variants: Variants | None = None,
        *,
        encoder: EncoderChoice | None = None,
        sample: PhotoSample | None = None,
        part: Part | None = None,
        fetch: bool = True,
    ) -> IndexPlan:
        """Checks the options and finds the photos.

        Args:
            spec: the options.
            variants: see `IndexPlan`.
            encoder: takes the place of the one that `spec` names.
            sample: takes the place of the photos that `spec` names.
            part: index only this part of the photos, into a part of the set.
            fetch: weights of the detector may be downloaded.

        Raises:
            QpertError: something is wrong with them, as far as that shows without loading a model.
        """
        if spec.strict_annotations:
            check_annotations(spec.detector)
        spec = spec.model_copy(update={"detector": with_query_classes(spec.detector)})
        encoder = encoder or EncoderChoice.of(spec.encoder, absolute_weights(spec.weights), spec.image_size)
        if encoder.sites == 0:
            spec = plain_only(spec, variants)
        check_multi(spec, encoder)
        wanted = [spec.perturbation.build()] if variants is None else [*variants.settings.values(), *variants.to_come]
        if spec.detector.model == "none" and any(setting is not None for setting in wanted):
            raise QpertError("a perturbation needs objects: choose a --detector, or --perturbation none")
        if shuffle_seeds(wanted if variants is None else variants.settings.values()):
            check_shuffles(spec.detector)
        check_detector(spec.detector, fetch=fetch)
        check_writable(spec.out)
        whole = FeatureStore(spec.out)
        check_division(whole, part)
        if variants is None and "perturbation" not in spec.model_fields_set:
            spec = with_recorded_default(spec)
        if sample is not None:
            photos = sample.photos
        else:
            photos = find_photos(
                spec.source,
                uri_column=spec.uri_column,
                bytes_column=spec.bytes_column,
                id_column=spec.id_column,
                rules=spec.rules(),
                out=spec.out,
                part=part,
            )
        store = whole if part is None else whole.part(part.number, part.count)
        return cls(with_absolute_paths(spec), store, photos, encoder, variants, sample, part)

    @property
    def settings(self) -> tuple[Perturbation | None, ...]:
        """The perturbations to embed with, None for plain."""
        return (self.spec.perturbation.build(),) if self.variants is None else tuple(self.variants.settings.values())

    @property
    def perturbs(self) -> bool:
        """Whether objects act on some embedding, now or later."""
        to_come = () if self.variants is None else self.variants.to_come
        return any(setting is not None for setting in (*self.settings, *to_come))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the features and nothing else, in the words that `store` already records."""
        what = identity(self.spec, self.encoder, self.variants)
        if self.sample is not None:
            what["sample"] = self.sample.wanted
        return as_recorded(FeatureStore(self.spec.out).find_manifest(), what)

    @cached_property
    def _prompts(self) -> bytes | None:
        """The classes of an open vocabulary, embedded once for all actors of all attempts."""
        return embed_prompts(self.spec.detector)

    def manifest(self) -> Manifest:
        """The manifest of a new run."""
        spec = self.spec
        versions = {name: version(name) for name in ("ray", "torch", "pyarrow")}
        return Manifest(
            fingerprint=fingerprint(self.identity),
            identity=self.identity,
            config=spec.model_dump(mode="json"),
            encoder=self.identity["encoder"],
            precision=spec.precision,
            variants=[] if self.variants is None else list(self.variants.settings),
            multi=list(spec.multi.kinds),
            versions={"python": platform.python_version(), **versions},
        )

    def about(self, resume: Resume) -> int | None:
        """About how many photos are left; None if only reading the source would tell."""
        return self.sample.count if resume.todo is None and self.sample is not None else resume.todo

    def layout(self, resume: Resume, machines: Machines, accelerators: Sequence[str] | None) -> Layout:
        """Decides how what is left is spread over machines.

        Args:
            resume: what is done.
            machines: where it runs.
            accelerators: the GPU types that it takes; None for all.

        Raises:
            QpertError: the machines lack what was asked for, or the models fit nowhere.
        """
        spec, todo = self.spec, self.about(resume)
        block = spec.block_size or block_rows(todo)
        embeddings = 1 if self.variants is None else self.variants.embeddings
        values = self.encoder.values * (embeddings + spec.multi.expected(OBJECTS))
        pools = plan_pools(
            machines,
            ["detect", "encode"] if spec.detector.model != "none" else ["encode"],
            accelerators=accelerators,
            sizes={"detect": spec.detect_actors, "encode": spec.encode_actors},
            num_gpus={"detect": spec.detect_gpus, "encode": spec.encode_gpus},
            cpu_only=("detect",) if spec.detector.model == "annotated" else (),
            blocks=None if todo is None else max(1, -(-todo // block)),
            needs={} if self.encoder.need is None else {"encode": self.encoder.need},
            dtype=spec.dtype,
            share_actors=self.encoder.environment is None,
        )
        return Layout(pools, block, spec.file_size or file_rows(todo, block, values, spec.precision))

    def graph(self, resume: Resume, machines: Machines, accelerators: Sequence[str] | None) -> Graph:
        """Builds the graph that indexes what is left; for the arguments and errors see `layout`."""
        from pipeline.runs.index_graph import index_graph  # imports Ray Data, which a dry run does without

        spec, variants = self.spec, self.variants or Variants({})
        layout, make_detector, todo = self.layout(resume, machines, accelerators), None, self.about(resume)
        shuffles = shuffle_seeds(self.settings)
        if "detect" in layout.pools:
            each = None if todo is None else todo // layout.pools["detect"].size
            make_detector = partial(load_detector, spec.detector, photos=each, prompts=self._prompts, shuffles=shuffles)
        return index_graph(
            resume.photos,
            store=self.store,
            fingerprint=fingerprint(self.identity),
            make_encoder=self.encoder.build,
            make_detector=make_detector,
            settings=self.settings,
            precision=spec.precision,
            pools=dict(layout.pools),
            worker=Worker(
                dtype=spec.dtype,
                micro_batch=spec.batch_size,
                max_pixels=round(spec.max_megapixels * 1e6),
                allow_truncated=spec.allow_truncated,
                patience=60 * spec.patience / 3,  # a photo that hangs is found twice before the run counts as stuck
            ),
            block_rows=layout.block_rows,
            file_rows=layout.file_rows,
            limit=spec.limit,
            patience=60 * spec.patience,
            shuffled=bool(shuffles),
            with_objects=variants.with_objects,
            with_tokens=variants.with_tokens,
            to_come=variants.to_come,
            environment=self.encoder.environment,
            multi=spec.multi,
        )

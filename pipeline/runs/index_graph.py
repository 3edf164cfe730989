"""The graph of indexing: read -> detect -> encode -> write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.data import Dataset

from pipeline.cluster.pools import Pool
from pipeline.datasets.photos.found_photos import LISTING_SCHEMA, Listing, Shards
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs.graph import IO_CPUS, PATIENCE, READING, Graph, StageSpec
from pipeline.stages.multi_config import NO_MULTI, MultiConfig
from pipeline.stages.read import ShardSource, read_photos
from pipeline.stages.stage_actor import Step
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

if TYPE_CHECKING:
    from pipeline.stages.detect import DetectorBuilder
    from pipeline.stages.encode import EncoderBuilder

# By name: only their actors import the model libraries.
_DETECT, _ENCODE = "pipeline.stages.detect:DetectStage", "pipeline.stages.encode:EncodeStage"


@dataclass(frozen=True)
class PhotoSource:
    """The photos of a folder, list, table or tars.

    Attributes:
        photos: what was found.
        limit: take only this many, the first ones.
    """

    photos: Listing | Shards
    limit: int | None = None

    def __call__(self, store: FeatureStore, block_rows: int, reporter: Reporter) -> Dataset:
        """A dataset of `PHOTO_SCHEMA`; a list of the photos is written to `store` first."""
        rules = self.photos.rules
        if isinstance(self.photos, Shards):
            shards = ShardSource(self.photos.shards, block_rows, reporter, self.limit, rules)
            count = len(self.photos.shards)
            photos: Dataset = ray.data.read_datasource(shards, override_num_blocks=count, num_cpus=IO_CPUS)
            return photos
        store.write_listing(LISTING_SCHEMA, partial(self.photos.batches, self.limit))
        listing: Dataset = ray.data.read_parquet(store.LISTING, filesystem=store.ray_filesystem(), num_cpus=IO_CPUS)
        blocks = listing.repartition(target_num_rows_per_block=block_rows, strict=True)
        return blocks.map_batches(read_photos, fn_kwargs={"reporter": reporter, "rules": rules}, **READING)


def index_graph(
    photos: Listing | Shards,
    *,
    store: FeatureStore,
    fingerprint: str,
    make_encoder: EncoderBuilder,
    make_detector: DetectorBuilder | None,
    settings: tuple[Perturbation | None, ...],
    precision: str,
    pools: dict[str, Pool],
    worker: Worker,
    block_rows: int = 64,
    file_rows: int = 256,
    limit: int | None = None,
    patience: float = PATIENCE,
    shuffled: bool = False,
    with_objects: bool = False,
    with_tokens: bool = False,
    to_come: tuple[Perturbation, ...] = (),
    environment: dict[str, Any] | None = None,
    multi: MultiConfig = NO_MULTI,
) -> Graph:
    """Builds the graph of a run over `photos`.

    Args:
        photos: what to index.
        store: see `Graph`.
        fingerprint: see `Graph`.
        make_encoder: called in each encode actor.
        make_detector: called in each detect actor; None leaves the stage out.
        settings: the perturbations to embed with, None for plain; the backbone runs once for all.
        precision: of the stored embeddings, float16 or float32.
        pools: the pools of `detect` and `encode`.
        worker: see `Graph`.
        block_rows: see `Graph`.
        file_rows: see `Graph`.
        limit: index only this many photos, the first ones.
        patience: see `Graph`.
        shuffled: a setting needs boxes of other photos, which the detector adds.
        with_objects: store object embeddings as well.
        with_tokens: keep the image tokens beside the features as well.
        to_come: what the tokens will be perturbed with; the encoder must have the sites.
        environment: Ray's runtime environment of the encode actors, where the encoder needs one of its own.
        multi: further vectors of each photo.
    """
    tokens = {"tokens_in": store.tokens, "to_come": to_come} if with_tokens else {}
    options = {**tokens, **({"multi": multi} if multi.kinds else {})}
    steps = {"encode": Step(_ENCODE, (make_encoder, settings, with_objects, precision), options)}
    if make_detector is not None:
        steps = {"detect": Step(_DETECT, (make_detector,), {"shuffled": True} if shuffled else {}), **steps}
    groups = [steps] if pools["encode"].shared else [{name: step} for name, step in steps.items()]
    stages = tuple(
        StageSpec(group, pools[next(iter(group))], environment if "encode" in group else None) for group in groups
    )
    return Graph(store, fingerprint, PhotoSource(photos, limit), stages, worker, block_rows, file_rows, patience)

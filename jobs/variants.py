"""A feature set with several embeddings of each photo, one for each of some settings, from one pass of the backbone."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs import index, indexing
from pipeline.encoders import encoder_spec, prepare_environment
from pipeline.features.file_sizes import block_rows, file_rows
from pipeline.features.fingerprint import as_recorded
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.printing import printable
from pipeline.runs.index_run import index_photos
from pipeline.runs.resume import inspect, mend_earlier
from pipeline.runs.status_line import Counting

if TYPE_CHECKING:
    from pipeline.cluster.machines import Machines
    from pipeline.runs.graph import Graph


_OBJECTS = 6
"""Of a photo, about."""


def index_variants(
    options: index.Config,
    settings: Mapping[str, Perturbation | None],
    *,
    with_objects: bool = False,
    with_tokens: bool = False,
    to_come: Sequence[Perturbation] = (),
    begun: bool = False,
) -> int:
    """Do what is not done yet, as `qpert index` does.

    Args:
        options: source, output, encoder and detector; its own perturbation is not used.
        settings: by the names that the embeddings get.
        with_objects: store object embeddings as well.
        with_tokens: keep the image tokens as well.
        to_come: what these will be perturbed with: the encoder is asked at the start whether it has such sites.
        begun: the command has found the GPU types that it names before, and those do that are left.

    Returns:
        How many photos passed the backbone.
    """
    config, photos = index.checked(options)
    named = {name: each and each.as_dict() for name, each in settings.items()}
    what = indexing.identity(config) | {"perturbation": json.loads(json.dumps(named)), "with_objects": with_objects}
    if with_tokens:
        what["with_tokens"] = True
    store = FeatureStore(config.out)
    what = as_recorded(store.find_manifest(), what)
    counting = Counting("photos listed")
    mend_earlier(store, what)
    resume = inspect(store, what, photos, counted=counting)
    counting.end()
    resume.write(store)
    for line in indexing.source_changes(resume, keep_removed=False):
        print(f"{printable(config.out)}: {line}", file=sys.stderr)
    if resume.manifest is not None and resume.manifest.state == "complete" and resume.todo == 0:
        return 0
    prepare_environment(config.encoder)
    rows = _file_rows(config, resume.todo, len(settings) + (_OBJECTS if with_objects else 0))
    graph_for = indexing.graphs_for(config, photos, what, resume.todo, begun=begun)

    def make_graph(machines: Machines) -> Graph:
        further: dict[str, Any] = {"with_objects": with_objects, "with_tokens": with_tokens, "to_come": tuple(to_come)}
        return dataclasses.replace(graph_for(machines), settings=tuple(settings.values()), file_rows=rows, **further)

    manifest = indexing.make_manifest(config, what).model_copy(update={"variants": list(settings)})
    if resume.manifest is not None:
        manifest = manifest.model_copy(update={"vectors": resume.manifest.vectors, "dim": resume.manifest.dim})
    outcome = index_photos(
        make_graph,
        manifest,
        store,
        find_machines=indexing.machines_for(config, begun=begun),
        todo=resume.todo,
        address=config.address,
        cpus=config.cpus,
        verbose=config.verbose,
    )
    warnings = [*index.warnings_of(config, outcome), index.no_objects(config, outcome.totals)]
    if failed := outcome.totals["failed"]:
        warnings.append(
            f"warning: {failed:,} photos could not be indexed; the column error of {printable(config.out)} says why"
        )
    for warning in filter(None, warnings):
        print(warning, file=sys.stderr)
    return outcome.counts.photos


def _file_rows(config: index.Config, todo: int | None, embeddings: int) -> int:
    """Photos per file, where each has so many embeddings: files are no larger than those of `qpert index`."""
    block = config.block_size or block_rows(todo)
    values = embeddings * encoder_spec(config.encoder, config.weights).embedding_values
    return config.file_size or file_rows(todo, block, values, config.precision)

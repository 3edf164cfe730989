"""A feature set with several embeddings of each photo, one for each of some settings, from one pass of the backbone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs import index, indexing
from pipeline.datasets.photos import find_photos
from pipeline.encoders import prepare_environment
from pipeline.perturbation import Perturbation
from pipeline.stages.identity import as_begun
from pipeline.stages.resume import inspect
from pipeline.stages.run import index_photos

if TYPE_CHECKING:
    from pipeline.stages.graph import Graph
    from pipeline.stages.machines import Machines


def index_variants(
    options: index.Config,
    settings: Mapping[str, Perturbation | None],
    *,
    with_objects: bool = False,
    with_tokens: bool = False,
    to_come: Sequence[Perturbation] = (),
) -> int:
    """Do what is not done yet, in the current Ray session.

    Args:
        options: source, output, encoder and detector; its own perturbation is not used.
        settings: by the names that the embeddings get.
        with_objects: store object embeddings as well.
        with_tokens: keep the image tokens as well.
        to_come: what these will be perturbed with: the encoder is asked at the start whether it has such sites.

    Returns:
        How many photos passed the backbone.
    """
    config = index.with_absolute_paths(options)
    named = {name: each and each.as_dict() for name, each in settings.items()}
    what = indexing.identity(config) | {"perturbation": json.loads(json.dumps(named)), "with_objects": with_objects}
    if with_tokens:
        what["with_tokens"] = True
    what = as_begun(config.out, what)
    photos = find_photos(config.source)
    resume = inspect(config.out, what, photos)
    if resume.manifest is not None and resume.manifest.state == "complete" and resume.todo == 0:
        return 0
    prepare_environment(config.encoder)

    def make_graph(machines: Machines) -> Graph:
        graph = indexing.build_graph(config, photos, what, resume.todo, machines)
        further: dict[str, Any] = {"with_objects": with_objects, "with_tokens": with_tokens, "to_come": tuple(to_come)}
        return dataclasses.replace(graph, settings=tuple(settings.values()), **further)

    manifest = indexing.make_manifest(config, what).model_copy(update={"variants": list(settings)})
    if resume.manifest is not None:
        manifest = manifest.model_copy(update={"vectors": resume.manifest.vectors, "dim": resume.manifest.dim})
    outcome = index_photos(
        make_graph,
        manifest,
        config.out,
        todo=resume.todo,
        address=config.address,
        cpus=config.cpus,
        verbose=config.verbose,
    )
    return outcome.counts.photos

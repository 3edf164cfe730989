"""From the options of `qpert index` to what the stages take: identity, manifest, graph, and the plan in words."""

from __future__ import annotations

import json
import os
import platform
from functools import partial
from importlib.metadata import version
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.errors import QpertError
from pipeline.io.locations import absolute, is_uri
from pipeline.printing import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobs.index import Config
    from pipeline.cluster.machines import Machines
    from pipeline.datasets.photos.found_photos import Listing, Shards
    from pipeline.datasets.photos.skipped import Skipped
    from pipeline.features.damage import Damage
    from pipeline.features.manifest import Manifest
    from pipeline.runs.graph import Graph
    from pipeline.runs.resume import Resume


def check_writable(out: str) -> None:
    """Refuse an output that is a file or that nothing can be written to; of object stores only using them tells.

    Raises:
        QpertError: with what is wrong.
    """
    if is_uri(out):
        return
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not os.path.isabs(out):
        raise QpertError(
            f"--out {out}: the folder of a submitted job goes when the job ends; give an absolute path that all nodes"
            " see, or a URI such as s3://bucket/features"
        )
    place = Path(absolute(out))
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise QpertError(f"--out {out}: {place} is a file; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise QpertError(f"--out {out}: no permission to write to {place}")


def identity(config: Config) -> dict[str, Any]:
    """Everything that changes the features, and nothing else; plain JSON values."""
    from pipeline.encoders import resolve_weights
    from pipeline.features.fingerprint import bundled, canonical_identity, weights_identity
    from pipeline.features.manifest import FORMAT_VERSION

    perturbation = config.perturbation.build()
    weights = resolve_weights(config.encoder, config.weights)
    detector = config.detector.model_dump(mode="json")
    detector["model"] = weights_identity(bundled(config.detector.model, "yolo.pt"))
    if config.detector.annotations:
        detector["annotations"] = weights_identity(config.detector.annotations, whole=True)
    what = {
        "format": FORMAT_VERSION,
        "source": absolute(config.source),
        "columns": [config.uri_column, config.bytes_column, config.id_column],
        "encoder": {"name": config.encoder, "weights": weights_identity(weights)},
        "detector": None if config.detector.model == "none" else detector,
        "perturbation": perturbation and perturbation.as_dict(),
        "precision": config.precision,
        "dtype": config.dtype,
        "max_megapixels": config.max_megapixels,
    }
    if config.allow_truncated:  # only then, so that what was made before there was a choice can still be resumed
        what["allow_truncated"] = True
    return canonical_identity(cast("dict[str, Any]", json.loads(json.dumps(what))))


def make_manifest(config: Config, what: dict[str, Any]) -> Manifest:
    """The manifest of a new run."""
    from pipeline.features.fingerprint import fingerprint
    from pipeline.features.manifest import Manifest

    return Manifest(
        fingerprint=fingerprint(what),
        identity=what,
        config=config.model_dump(mode="json"),
        encoder=what["encoder"],
        precision=config.precision,
        versions={"python": platform.python_version(), **{name: version(name) for name in ("ray", "torch", "pyarrow")}},
    )


def build_graph(
    config: Config, photos: Listing | Shards, what: dict[str, Any], todo: int | None, machines: Machines
) -> Graph:
    """The graph of a run over `todo` photos (None: unknown) on `machines`."""
    from pipeline.cluster.pools import plan_pools
    from pipeline.detectors import load_detector
    from pipeline.encoders import encoder_spec, load_encoder, runtime_env
    from pipeline.features.file_sizes import block_rows, file_rows
    from pipeline.features.fingerprint import fingerprint
    from pipeline.features.store import FeatureStore
    from pipeline.runs.graph import Graph
    from pipeline.workers.worker import Worker

    detects = config.detector.model != "none"
    block = config.block_size or block_rows(todo)
    spec = encoder_spec(config.encoder, config.weights)
    return Graph(
        photos=photos,
        store=FeatureStore(config.out),
        fingerprint=fingerprint(what),
        make_encoder=partial(load_encoder, config.encoder, weights=config.weights),
        make_detector=partial(load_detector, config.detector) if detects else None,
        settings=(config.perturbation.build(),),
        precision=config.precision,
        pools=plan_pools(
            machines,
            ["detect", "encode"] if detects else ["encode"],
            accelerators=config.accelerators,
            sizes={"detect": config.detect_actors, "encode": config.encode_actors},
            num_gpus={"detect": config.detect_gpus, "encode": config.encode_gpus},
            cpu_only=("detect",) if config.detector.model == "annotated" else (),
            blocks=None if todo is None else max(1, -(-todo // block)),
            needs={"encode": spec.memory},
            dtype=config.dtype,
        ),
        worker=Worker(
            dtype=config.dtype,
            micro_batch=config.batch_size,
            max_pixels=round(config.max_megapixels * 1e6),
            allow_truncated=config.allow_truncated,
            patience=60 * config.patience / 3,  # so that what hangs is found twice before the whole run counts as stuck
        ),
        block_rows=block,
        file_rows=config.file_size or file_rows(todo, block, spec.embedding_values, config.precision),
        limit=config.limit,
        patience=60 * config.patience,
        environment=runtime_env(config.encoder),
    )


def graphs_for(
    config: Config, photos: Listing | Shards, what: dict[str, Any], todo: int | None, *, begun: bool = False
) -> Callable[[Machines], Graph]:
    """For each attempt its graph.

    All GPU types named must be there at first; later, or where the command has `begun` before, those do that are left.
    """
    from pipeline.cluster.waiting import NamedGpus

    gpus = NamedGpus(config.accelerators, begun=begun)

    def make_graph(machines: Machines) -> Graph:
        chosen = config.model_copy(update={"accelerators": gpus.on(machines)})
        return build_graph(chosen, photos, what, todo, machines)

    return make_graph


def machines_for(config: Config, *, begun: bool = False) -> Callable[[], Machines]:
    """For each attempt the machines. All GPU types named are waited for at first, later those that are left."""
    from pipeline.cluster.waiting import NamedGpus

    return NamedGpus(config.accelerators, config.wait, begun=begun).find


def plan(config: Config, photos: Listing | Shards, what: dict[str, Any], resume: Resume) -> str:
    """What would be done. Ray is started only where the answer depends on a cluster or on its names for GPUs."""
    from pipeline.cluster.machines import Machines
    from pipeline.cluster.session import ray_session
    from pipeline.features.fingerprint import fingerprint

    if config.address or os.environ.get("RAY_ADDRESS") or config.accelerators not in (None, ["none"]):
        with ray_session(config.address, cpus=config.cpus, verbose=config.verbose):
            machines = Machines.cluster()
    else:
        machines = Machines.here(config.cpus)
    graph = build_graph(config, photos, what, resume.todo, machines)
    found = "counted while they are read" if resume.total is None else f"{resume.total:,} photos"
    models = {"detect": config.detector.model, "encode": f"{config.encoder}, {config.weights or 'miniature'}"}
    lines = {
        "source": f"{config.source}: {photos.kind}, {found}",
        "machines": str(machines),
        "read": f"blocks of {graph.block_rows} photos",
        **{stage: f"{pool} ({models[stage]})" for stage, pool in graph.pools.items()},
        "write": f"{config.out}/features: files of {graph.file_rows:,} photos, {config.precision}",
        "perturbation": ", ".join(f"{name} {value}" for name, value in (what["perturbation"] or {}).items()) or "none",
        "fingerprint": fingerprint(what),
        "output": "new" if resume.manifest is None else f"{resume.manifest.state}, {resume.done:,} photos are done",
        **(
            {"changes": "; ".join(changes)}
            if (changes := source_changes(resume, keep_removed=config.keep_removed))
            else {}
        ),
        **({"lost": lost_text(resume.lost)} if resume.lost else {}),
        "to do": "unknown before reading" if resume.todo is None else f"{resume.todo:,} photos",
    }
    named = (f"{name:<13} {printable(text)}" for name, text in lines.items())
    return "\n".join([*named, *left_out(photos.skipped, 13)])


def left_out(skipped: Skipped, width: int = 8) -> list[str]:
    """A line for each reason why files of the source are not read, with the names of the first."""
    titles = chain(["left out"], repeat(""))
    return [f"{title:<{width}} {printable(line)}" for title, line in zip(titles, skipped.lines(), strict=False)]


def source_changes(resume: Resume, *, keep_removed: bool) -> list[str]:
    """A line each for photos that have changed since they were indexed, are gone, or are back."""
    gone = "kept   " if keep_removed else "left out"
    lines = [
        (resume.changed, f"changed {resume.changed:,} photos since they were indexed; their old rows count no more"),
        (resume.restored, f"back    {resume.restored:,} photos that the source did not have the last time"),
        (resume.removed, f"{gone} {resume.removed:,} indexed photos that the source no longer has"),
    ]
    return [line for count, line in lines if count]


def lost_text(lost: Sequence[Damage]) -> str:
    """What to say of files of features that are made anew."""
    rows = [damage.rows for damage in lost]
    photos = "the photos" if None in rows else f"{sum(row or 0 for row in rows):,} photos"
    named = ", ".join(map(str, lost[:3])) + (", ..." if len(lost) > 3 else "")
    return f"{photos} of {len(lost):,} lost or damaged files are made again: {named}"

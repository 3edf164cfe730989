"""The sets of a server, by their names, and the thread that watches them."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from threading import Event, Thread

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.miniatures import miniatures_of
from pipeline.io.locations import Folder, is_uri, split, without_options
from pipeline.queries.searching import Collection
from pipeline.retrieval.several_sets import find_sets
from pipeline.serving.embedding import EncoderPool, ServedEncoder
from pipeline.serving.errors import RequestError
from pipeline.serving.models import SetInfo
from pipeline.serving.observing import Metrics
from pipeline.serving.served_set import OpenedSet, ServedSet, version_text
from pipeline.serving.settings import ServeSettings

_LABELS = 50
_SELDOM = 15
"""How many times as seldom buckets are looked at, where each look is a few requests."""
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")

logger = logging.getLogger(__name__)


class Catalogue:
    """The sets of a server.

    Args:
        settings: of the server.
        metrics: where changes are counted.
        pool: the encoders.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics, pool: EncoderPool) -> None:
        self._settings, self._metrics, self._pool = settings, metrics, pool
        self._sets: dict[str, ServedSet] = {}
        self._stopping = Event()
        self._thread: Thread | None = None

    def open(self) -> None:
        """Opens all sets.

        Raises:
            QpertError: one cannot be opened; names that do not fit.
        """
        for name, root, variant in named_places(self._settings):
            opener = Opener(name, root, variant, self._settings, self._pool)
            served = ServedSet(name, root, opener, self._note)
            served.open()
            self._sets[name] = served

    def start_watching(self) -> None:
        """Looks for changes from now on, in a thread."""
        self._thread = Thread(target=self._watch, name="sets", daemon=True)
        self._thread.start()

    def stop_watching(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def get(self, name: str | None) -> ServedSet:
        """A set by its name; the first without one.

        Raises:
            RequestError: 404 where there is none.
        """
        if name is None:
            return next(iter(self._sets.values()))
        if name not in self._sets:
            raise RequestError(404, f"there is no such set; there are: {', '.join(self._sets)}")
        return self._sets[name]

    def all(self) -> list[ServedSet]:
        """All sets, in the order in which they were given."""
        return list(self._sets.values())

    def _watch(self) -> None:
        turn = 0
        while not self._stopping.wait(self._settings.reload):
            turn += 1
            for served in self._sets.values():
                if is_uri(served.root) and turn % _SELDOM:
                    continue
                try:
                    served.check()
                except Exception:  # the thread must live, whatever storage raises
                    logger.exception(f"{served.name}: cannot be checked for changes")

    def _note(self, name: str, opened: OpenedSet | None) -> None:
        metrics = self._metrics
        metrics.up.labels(name).set(0 if opened is None else 1)
        metrics.reloads.labels(name, "failed" if opened is None else "opened").inc()
        if opened is not None:
            metrics.photos.labels(name).set(opened.info.photos)
            metrics.opened.labels(name).set(opened.opened)


class Opener:
    """Opens one set, each time in its newest state."""

    def __init__(self, name: str, root: str, variant: str | None, settings: ServeSettings, pool: EncoderPool) -> None:
        self.name, self.root, self.variant = name, root, variant
        self._settings, self._pool = settings, pool

    def __call__(self) -> OpenedSet:
        """Opens the set.

        Raises:
            QpertError, OSError: it cannot be opened.
        """
        settings = self._settings
        collection = Collection.open([self.root], variant=self.variant)
        encoder = ServedEncoder(collection.features[0], self._pool, settings.weights, settings.device, settings.dtype)
        encoder.texts(["a photo"])  # the first text takes longer than others
        for one in collection.sets:
            one.snapshot.warm(psutil.virtual_memory().available // 2)
        info = described(self.name, collection, self.variant)
        return OpenedSet(self.name, collection, encoder, info, version_text(collection.version), time.time())


def named_places(settings: ServeSettings) -> list[tuple[str, str, str | None]]:
    """What is served: name, path or URI or pattern, and variant.

    Raises:
        QpertError: there are no features, or the names do not fit.
    """
    places = [place for root in settings.features for place in _places(root)]
    names = list(settings.names) or served_names(places)
    if len(names) != len(places):
        raise QpertError(f"there are {len(places)} sets and {len(names)} names: give one for each, in their order")
    if len(set(names)) < len(names) or served_names([(name, None) for name in names]) != names:
        raise QpertError("names of sets consist of letters, digits and .-_, and are all different")
    return [(name, root, variant) for name, (root, variant) in zip(names, places, strict=True)]


def _places(root: str) -> list[tuple[str, str | None]]:
    """What a path, URI or pattern stands for: itself, or each of its variants."""
    first = find_sets([root])[0]
    variants = Manifest.read(Folder.open(first)).variants
    return [(root, variant) for variant in variants] or [(root, None)]


def served_names(places: Sequence[tuple[str, str | None]]) -> list[str]:
    """Names for sets: those of their folders, without what would be hard to write in an address; all different."""
    names: list[str] = []
    for root, variant in places:
        bare = without_options(root)
        folder = split(bare.rstrip("/"))[1] if is_uri(bare) else os.path.basename(os.path.abspath(bare))
        text = folder if variant is None else f"{folder}-{variant}"
        name = plain = _NOT_IN_NAMES.sub("-", text).strip("-.")[:100] or "set"
        number = 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names


def described(name: str, collection: Collection, variant: str | None) -> SetInfo:
    """What clients are told of a set."""
    features = collection.features[0]
    manifest = features.manifest
    weights = manifest.encoder.get("weights")
    return SetInfo(
        name=name,
        photos=collection.photos,
        encoder=str(manifest.encoder.get("name")),
        weights=str(weights.get("name")) if isinstance(weights, dict) and weights.get("name") else None,
        vectors=features.vectors,
        dim=features.dim,
        index=collection.about,
        perturbation=variant or perturbation_text(manifest),
        labels=frequent_labels(collection),
        miniature=miniatures_of(manifest)[0] is not None,
        warning=collection.warning or None,
    )


def perturbation_text(manifest: Manifest) -> str | None:
    """How objects acted on the embeddings, for display: the preset, or the operator; None if they did not."""
    settings, config = manifest.identity.get("perturbation"), manifest.config.get("perturbation")
    if not isinstance(settings, dict):
        return None
    preset = config.get("preset") if isinstance(config, dict) else None
    return str(preset or settings.get("operator") or "perturbed")


def frequent_labels(collection: Collection) -> list[str]:
    """The labels that most objects have, the most frequent first."""
    counts: dict[str, int] = {}
    for one in collection.sets:
        for chunk in one.snapshot.photos.column("objects").chunks:
            labels = pc.value_counts(pc.struct_field(chunk.flatten(), "label")) if len(chunk) else pa.array([])
            for entry in labels.to_pylist():
                if entry["values"]:
                    counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return sorted(counts, key=lambda label: (-counts[label], label))[:_LABELS]

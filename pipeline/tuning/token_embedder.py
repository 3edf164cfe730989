"""Embedding kept image tokens under many settings in one pass: only the cross-attention part of the encoder runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import ray
import torch

from pipeline.encoders.base import Encoder
from pipeline.features.feature_set import FeatureSet
from pipeline.features.tokens import TokenFiles
from pipeline.method.objects import Objects
from pipeline.method.other_photos import OtherPhotos
from pipeline.method.settings import Perturbation
from pipeline.stages.columns import objects_from_row
from pipeline.stages.encode import EncoderBuilder
from pipeline.workers.device import this_device
from pipeline.workers.memory import free_memory, out_of_memory
from pipeline.workers.worker import Worker, load_model, set_threads

PING = "ping"
"""The concurrency group of calls that an actor answers at any time."""


@dataclass(frozen=True)
class TokenBatch:
    """Photos whose tokens one call of the backbone made, in the order of that call's rows.

    Attributes:
        file: name of the token file.
        call: number of the call in the file.
        rows: the photos' places among all photos of the feature set.
        objects: the objects of each photo.
    """

    file: str
    call: int
    rows: tuple[int, ...]
    objects: tuple[Objects, ...]


def token_batches(features: FeatureSet, shuffles: Sequence[int] = ()) -> list[TokenBatch]:
    """All kept tokens, file by file, without the photos that failed.

    Args:
        features: a run that kept its tokens; `rows` count in the order of its `ids`.
        shuffles: seeds with which every photo is given boxes of other photos as well (`Objects.shuffled`).
    """
    photos_of: dict[tuple[str, int], list[tuple[int, int, Objects]]] = {}
    others = OtherPhotos(_boxes(features)) if shuffles else None
    row = 0
    for block in features.iter_blocks(["image_id", "tokens", "objects", "width", "height"]):
        for photo in block.to_pylist():
            place, name = photo["tokens"], photo["image_id"]
            drawn = [{"seed": seed, "boxes": others.of(name, seed)} for seed in shuffles] if others else None
            objects = objects_from_row(photo["objects"], (photo["width"], photo["height"]), name, drawn)
            photos_of.setdefault((place["file"], place["call"]), []).append((place["row"], row, objects))
            row += 1
    batches = []
    for (file, call), photos in sorted(photos_of.items(), key=lambda item: item[0]):
        photos.sort(key=lambda photo: photo[0])
        rows, objects_of = tuple(row for _, row, _ in photos), tuple(objects for _, _, objects in photos)
        batches.append(TokenBatch(file, call, rows, objects_of))
    return batches


def _boxes(features: FeatureSet) -> Iterator[tuple[str, list[list[float]]]]:
    """The id and the boxes [n, 4] of every photo."""
    for block in features.iter_blocks(["image_id", "objects"]):
        for photo in block.to_pylist():
            yield photo["image_id"], [[thing[name] for name in ("x0", "y0", "x1", "y1")] for thing in photo["objects"]]


class TokenEmbedder:
    """An actor around an encoder.

    Args:
        build: makes the encoder.
        tokens: the kept image tokens.
        precision: number format of the vectors, as `qpert index` would store them.
        worker: how the actor works.
    """

    def __init__(self, build: EncoderBuilder, tokens: TokenFiles, precision: str, worker: Worker) -> None:
        set_threads(worker.threads)
        device = this_device(worker.gpu)
        self.encoder: Encoder = load_model(
            "encoder", lambda: build(device=device.torch, dtype=device.dtype(worker.dtype))
        )
        self.tokens, self.precision = tokens, np.dtype(precision)

    @ray.method(concurrency_group=PING)  # type: ignore[untyped-decorator]
    def alive(self) -> None:
        """Returns at once, even while `embed` is at work; calls of `embed` run one after the other."""

    @torch.inference_mode()
    def embed(self, batches: Sequence[TokenBatch], settings: Sequence[Perturbation | None]) -> npt.NDArray[np.generic]:
        """The vectors [S, n, V * D] of n photos, in the order of `batches`, under each of S settings.

        They equal those of `qpert index` with that setting, bit for bit: the same photos pass the same model together.
        """
        parts = [self._embed_call(tokens, objects, settings) for tokens, objects in self._calls(batches)]
        return np.concatenate(parts, axis=1).astype(self.precision)

    def _embed_call(
        self, tokens: torch.Tensor, objects: list[Objects], settings: Sequence[Perturbation | None]
    ) -> npt.NDArray[np.generic]:
        """Falls back to one setting at a time if memory runs out; a smaller batch would change the last bits."""
        try:
            vectors = self.encoder.embed_each(tokens, objects, settings)
        except Exception as error:
            if not out_of_memory(error) or len(settings) == 1:
                raise
            free_memory()
            vectors = [self.encoder.embed(tokens, objects, setting) for setting in settings]
        return torch.stack([of_setting.flatten(1) for of_setting in vectors]).cpu().numpy()

    def _calls(self, batches: Sequence[TokenBatch]) -> Iterator[tuple[torch.Tensor, list[Objects]]]:
        name, shard = "", dict[int, torch.Tensor]()
        for batch in batches:
            if batch.file != name:
                name, shard = batch.file, self.tokens.read(batch.file)
            yield shard[batch.call], list(batch.objects)

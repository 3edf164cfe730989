"""Embedding kept image tokens under many settings in one pass: the cross-attention part of the encoder and no more."""

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
from pipeline.method.settings import Perturbation
from pipeline.stages.columns import objects_from_row
from pipeline.stages.encode import EncoderBuilder
from pipeline.workers.device import this_device
from pipeline.workers.memory import free_memory, out_of_memory
from pipeline.workers.worker import Worker, load_model, set_threads

PING = "ping"
"""The actors' group of calls that are answered at any time."""


@dataclass(frozen=True)
class Kept:
    """Photos whose tokens are in one call of one file, in the order of its rows.

    Attributes:
        file: name of the file.
        call: of the model.
        rows: the photos' places among all photos of the feature set.
        objects: of each photo.
    """

    file: str
    call: int
    rows: tuple[int, ...]
    objects: tuple[Objects, ...]


def kept_photos(features: FeatureSet) -> list[Kept]:
    """What there is, file by file; photos that failed are in none.

    Args:
        features: of a run that kept its tokens; `rows` count in the order of its `ids`.
    """
    columns = ["tokens", "objects", "width", "height"]
    found: dict[tuple[str, int], list[tuple[int, int, Objects]]] = {}
    row = 0
    for block in features.iter_blocks(columns):
        for each in block.to_pylist():
            at = each["tokens"]
            objects = objects_from_row(each["objects"], (each["width"], each["height"]))
            found.setdefault((at["file"], at["call"]), []).append((at["row"], row, objects))
            row += 1
    kept = []
    for (file, call), photos in sorted(found.items(), key=lambda item: item[0]):
        photos.sort(key=lambda photo: photo[0])
        kept.append(Kept(file, call, tuple(each[1] for each in photos), tuple(each[2] for each in photos)))
    return kept


class Sweeper:
    """An actor around an encoder.

    Args:
        build: makes the encoder.
        kept: the image tokens.
        precision: of the vectors, as `qpert index` would store them.
        worker: how the actor works.
    """

    def __init__(self, build: EncoderBuilder, kept: TokenFiles, precision: str, worker: Worker) -> None:
        set_threads(worker.threads)
        device = this_device(worker.gpu)
        self.encoder: Encoder = load_model(
            "encoder", lambda: build(device=device.torch, dtype=device.dtype(worker.dtype))
        )
        self.kept, self.kind = kept, np.dtype(precision)

    @ray.method(concurrency_group=PING)  # type: ignore[untyped-decorator]
    def alive(self) -> None:
        """Answers, also while vectors are made; these are made for one part after the other."""

    @torch.inference_mode()
    def embed(self, photos: Sequence[Kept], settings: Sequence[Perturbation | None]) -> npt.NDArray[np.generic]:
        """The vectors [S, n, V * D] of n photos, in the order in which `photos` name them, under each of S settings.

        They are those of `qpert index` with that setting, bit for bit: the same photos pass the same model together.
        """
        parts = [self._one_call(tokens, objects, settings) for tokens, objects in self._calls(photos)]
        return np.concatenate(parts, axis=1).astype(self.kind)

    def _one_call(
        self, tokens: torch.Tensor, objects: list[Objects], settings: Sequence[Perturbation | None]
    ) -> npt.NDArray[np.generic]:
        """Where the memory does not hold what settings share, one after the other; fewer photos would be other bits."""
        try:
            vectors = self.encoder.embed_each(tokens, objects, settings)
        except Exception as error:
            if not out_of_memory(error) or len(settings) == 1:
                raise
            free_memory()
            vectors = [self.encoder.embed(tokens, objects, setting) for setting in settings]
        return torch.stack([each.flatten(1) for each in vectors]).cpu().numpy()

    def _calls(self, photos: Sequence[Kept]) -> Iterator[tuple[torch.Tensor, list[Objects]]]:
        name, shard = "", dict[int, torch.Tensor]()
        for each in photos:
            if each.file != name:
                name, shard = each.file, self.kept.read(each.file)
            yield shard[each.call], list(each.objects)

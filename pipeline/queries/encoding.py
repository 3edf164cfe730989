"""The encoder of queries: texts by the text tower alone where that is bundled, photos by the whole encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from pipeline.encoders.text_towers import TextEncoder, TextTower
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.provenance import MadeWith
from pipeline.retrieval.similarity import Float32, unit
from pipeline.retrieval.text import TextEncoderChoice, embed_texts, load_chosen, load_text_encoder

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from pipeline.encoders.base import Encoder
    from pipeline.encoders.reading import Reading

_PHOTOS_AT_ONCE = 8


class QueryEncoder(Protocol):
    """What a search asks of an encoder; several threads may ask at once."""

    def texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors [T, D]."""
        ...

    def photos(self, photos: Sequence[Image]) -> Float32:
        """Unit vectors [n, V, D] of upright RGB photos, plain: no objects act on them."""
        ...


class ChosenEncoder:
    """A loaded encoder for several threads, of which one at a time is served. Its whole is loaded for the first photo.

    Args:
        choice: which encoder.
        load: loads its text side.
    """

    def __init__(
        self, choice: TextEncoderChoice, load: Callable[[TextEncoderChoice], TextEncoder] = load_chosen
    ) -> None:
        self._choice, self._text = choice, load(choice)
        self.name, self.dim = self._text.name, self._text.dim
        self._whole: Encoder | None = None
        self._image_size: int | None = None
        self._lock = Lock()

    def embed_text(self, texts: Sequence[str]) -> Tensor | Float32:
        """See `TextEncoder`."""
        with self._lock:
            return self._text.embed_text(texts)

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `TextEncoder`."""
        with self._lock:
            return self._text.read_texts(texts)

    def embed_photos(self, photos: Sequence[Image], image_size: int | None) -> Float32:
        """Unit vectors [n, V, D] of upright RGB photos, as indexing embeds them without objects.

        Args:
            photos: decoded.
            image_size: resolution of the encoder, see `load_encoder`.
        """
        import torch

        with self._lock, torch.inference_mode():
            encoder = self._at_resolution(image_size)
            parts = [np.zeros((0, encoder.vectors, encoder.dim), np.float32)]
            for start in range(0, len(photos), _PHOTOS_AT_ONCE):
                pixels = [encoder.preprocess(photo) for photo in photos[start : start + _PHOTOS_AT_ONCE]]
                parts.append(encoder.embed(encoder.backbone(torch.stack(pixels))).float().cpu().numpy())
        return unit(np.concatenate(parts), "the embedding of the photo that is looked for")

    def _at_resolution(self, image_size: int | None) -> Encoder:
        if self._whole is None or self._image_size != image_size:
            from pipeline.encoders import load_encoder

            choice = self._choice
            if self._whole is None and not isinstance(self._text, TextTower):
                whole = cast("Encoder", self._text)  # not twice: it may fill a GPU, and texts know no resolution
            else:
                whole = load_encoder(choice.name, weights=choice.weights, device=choice.device, dtype=choice.dtype)
            if image_size is not None:
                whole.resize(image_size)
            self._whole, self._image_size = whole, image_size
        return self._whole


class SetEncoder:
    """The encoder that made a feature set, loaded when it is first asked; one thread at a time is served.

    Args:
        features: the set.
        weights: see `load_text_encoder`, also for what it refuses.
        device: a torch device.
        dtype: the encoder's number format.
        load: loads it, or has it already.
    """

    def __init__(
        self,
        features: FeatureSet,
        *,
        weights: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        load: Callable[[TextEncoderChoice], TextEncoder] = ChosenEncoder,
    ) -> None:
        self._features, self._weights, self._device, self._dtype = features, weights, device, dtype
        self._load = load
        self._loaded: TextEncoder | None = None
        self._lock = Lock()

    def texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors [T, D]; equal texts get one vector, bit for bit. Warns of texts that it cannot read as a whole.

        Raises:
            QpertError: the encoder cannot be loaded, or is not the one that made the features.
        """
        return embed_texts(self._encoder(), texts)

    def photos(self, photos: Sequence[Image]) -> Float32:
        """Unit vectors [n, V, D] of upright RGB photos.

        Raises:
            QpertError: as for texts; or the encoder at hand takes no photos.
        """
        encoder = self._encoder()
        if not isinstance(encoder, ChosenEncoder):
            raise QpertError("the encoder at hand takes texts alone, no photos")
        return encoder.embed_photos(photos, MadeWith.of(self._features.manifest, self._features.root).image_size)

    def _encoder(self) -> TextEncoder:
        with self._lock:
            if self._loaded is None:
                self._loaded = load_text_encoder(
                    self._features, weights=self._weights, device=self._device, dtype=self._dtype, load=self._load
                )
            return self._loaded

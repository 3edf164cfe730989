"""The text side of a feature set: the encoder that made it, and unit vectors of texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.similarity import Float32, unit

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder

_TEXT_BATCH = 256
_NAMED, _SHORT, _WORDS = 3, 60, 80
"""Of texts that are complained of: how many are shown, and how many letters of each; and known words that are shown."""


def load_text_encoder(
    features: FeatureSet, *, weights: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> Encoder:
    """The encoder that made `features`, as its manifest names it; see `chosen_weights` for which weights are opened.

    Args:
        features: the indexed photos.
        weights: the encoder's weights, where they are files; None: the bundled or published ones that the manifest
            names.
        device: a torch device.
        dtype: of the encoder.

    Raises:
        QpertError: the encoder or its weights cannot be had, or they are not those that made the features; or the
            manifest names files and `weights` does not.
    """
    from pipeline.encoders import load_encoder, resolve_weights, twin_of
    from pipeline.features.fingerprint import weights_identity
    from pipeline.features.provenance import MadeWith

    made_with = MadeWith.of(features.manifest, features.root)
    name, chosen = made_with.encoder, made_with.weights(weights)
    shown = f"{name} ({chosen or 'miniature'})"
    try:
        encoder = load_encoder(twin_of(name), weights=chosen, device=device, dtype=dtype)
    except (QpertError, OSError) as error:
        raise QpertError(
            f"cannot load the encoder {shown} that made {features.root}: {error}; "
            "if its weights have moved, say where they are with --weights"
        ) from error
    digests = {made_with.digest, weights_identity(resolve_weights(name, chosen)).get("digest")} - {None}
    if len(digests) > 1 or encoder.dim != features.dim:
        raise QpertError(
            f"{shown} has other weights than those that made {features.root}: index the photos again, "
            "or say with --weights where the weights of then are"
        )
    return encoder


@dataclass(frozen=True)
class EmbeddedTexts:
    """Texts whose vectors are known, to be asked for as `evaluate` asks an encoder.

    Attributes:
        vectors: unit vectors [T, D].
        rows: text -> its row.
    """

    vectors: Float32
    rows: Mapping[str, int]

    @classmethod
    def of(cls, encoder: Encoder, captions: Iterable[CaptionedImage]) -> EmbeddedTexts:
        """All captions, each distinct one embedded once."""
        texts = list(dict.fromkeys(caption for image in captions for caption in image.captions))
        return cls(embed_texts(encoder, texts), {text: row for row, text in enumerate(texts)})

    def __call__(self, texts: Sequence[str]) -> Float32:
        """Unit vectors [T, D] of some of them."""
        return self.vectors[np.array([self.rows[text] for text in texts], np.int64)]


def remarks(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    """What a user should know of how an encoder reads texts: that it cuts some, or knows no word of some."""
    from pipeline.encoders.base import Encoder as Known

    reading = encoder.read_texts(texts) if isinstance(encoder, Known) and texts else None
    if reading is None:
        return []
    found = []
    long = [text for text, cut in zip(texts, reading.cut, strict=True) if cut]
    if long:
        found.append(
            f"{len(long):,} of {len(texts):,} texts are longer than the {reading.limit} tokens that {encoder.name}"
            f" reads, and their ends were cut off: {_some(long)}"
        )
    strange = [text for text, none in zip(texts, reading.strange or [False] * len(texts), strict=True) if none]
    if strange:
        words = ", ".join(reading.words[:_WORDS]) + (", ..." if len(reading.words) > _WORDS else "")
        found.append(
            f"none of the words of {_some(strange)} is known to this small {encoder.name} (the miniature model, or one"
            f" trained like it), so what it finds means nothing; it knows only: {words}"
        )
    return found


def _some(texts: Sequence[str]) -> str:
    """The first few, each shortened, in quotes that escape control characters."""
    shown = [repr(text if len(text) <= _SHORT else f"{text[:_SHORT]}...") for text in texts[:_NAMED]]
    return ", ".join(shown) + (f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else "")


def embed_texts(encoder: Encoder, texts: Sequence[str], *, batch: int = _TEXT_BATCH) -> Float32:
    """Unit vectors [T, D] of texts, in batches. Equal texts get one vector, bit for bit.

    Warns, once each, of texts that the encoder cuts and of texts of which it knows no word.
    """
    import torch

    index = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = list(index)
    for message in remarks(encoder, distinct):
        warnings.warn(message, stacklevel=2)
    with torch.inference_mode():
        parts = [
            encoder.embed_text(distinct[start : start + batch]).float().cpu().numpy()
            for start in range(0, len(distinct), batch)
        ]
    if not parts:
        return np.zeros((0, encoder.dim), np.float32)
    return unit(np.concatenate(parts), "the text embeddings")[[index[text] for text in texts]]

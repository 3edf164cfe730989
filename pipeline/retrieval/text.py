"""The text side of a feature set: the encoder that made it, and unit vectors of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.captions import CaptionedImage
from pipeline.errors import QpertError
from pipeline.features import FeatureSet
from pipeline.retrieval.similarity import Float32, unit

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder

_TEXT_BATCH = 256


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
    from pipeline.encoders import load_encoder, miniature_of, twin_of  # torch, which `--help` should not wait for
    from pipeline.provenance import MadeWith
    from pipeline.stages.identity import bundled, weights_identity

    made_with = MadeWith.of(features.manifest, features.out)
    name, chosen = made_with.encoder, made_with.weights(weights)
    shown = f"{name} ({chosen or 'miniature'})"
    try:
        encoder = load_encoder(twin_of(name), weights=chosen, device=device, dtype=dtype)
    except (QpertError, OSError) as error:
        raise QpertError(
            f"cannot load the encoder {shown} that made {features.out}: {error}; "
            "if its weights have moved, say where they are with --weights"
        ) from error
    digests = {made_with.digest, weights_identity(bundled(chosen, miniature_of(name))).get("digest")} - {None}
    if len(digests) > 1 or encoder.dim != features.dim:
        raise QpertError(
            f"{shown} has other weights than those that made {features.out}: index the photos again, "
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


def embed_texts(encoder: Encoder, texts: Sequence[str], *, batch: int = _TEXT_BATCH) -> Float32:
    """Unit vectors [T, D] of texts, in batches. Equal texts get one vector, bit for bit."""
    import torch

    index = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = list(index)
    with torch.inference_mode():
        parts = [
            encoder.embed_text(distinct[start : start + batch]).float().cpu().numpy()
            for start in range(0, len(distinct), batch)
        ]
    if not parts:
        return np.zeros((0, encoder.dim), np.float32)
    return unit(np.concatenate(parts), "the text embeddings")[[index[text] for text in texts]]

"""The text side of a feature set: the encoder that made it, and unit vectors of texts.

It is here, below both `queries` and `experiments`, because both ask it. Only encoders that need torch import it: a
search with a bundled encoder runs its text tower by onnxruntime, and answers before torch would be imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.encoders import load_encoder, resolve_weights, twin_of
from pipeline.encoders.text_towers import TextEncoder, load_text_tower
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import weights_identity
from pipeline.features.provenance import MadeWith
from pipeline.retrieval.similarity import Float32, unit

_TEXT_BATCH = 256
_SHOWN_TEXTS, _SHOWN_LETTERS, _SHOWN_WORDS = 3, 60, 80
"""How many texts a warning quotes, how many letters of each, and how many of the encoder's words."""


@dataclass(frozen=True)
class TextEncoderChoice:
    """Which text encoder to load; equal choices load equal encoders.

    Attributes:
        name: of the encoder in this process.
        weights: as `load_encoder` takes them; None: the bundled ones.
        digest: of these weights as they are now; None for published ones.
        device: a torch device.
        dtype: the encoder's number format.
    """

    name: str
    weights: str | None
    digest: str | None
    device: str
    dtype: str


def load_chosen(choice: TextEncoderChoice) -> TextEncoder:
    """The text tower alone where the weights are bundled and the CPU computes in float32, else the whole encoder.

    Raises:
        QpertError, OSError: see `load_encoder`.
    """
    if choice.weights is None and (choice.device, choice.dtype) == ("cpu", "float32"):
        tower = load_text_tower(choice.name, choice.digest)
        if tower is not None:
            return tower
    return load_encoder(choice.name, weights=choice.weights, device=choice.device, dtype=choice.dtype)


def load_text_encoder(
    features: FeatureSet,
    *,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    load: Callable[[TextEncoderChoice], TextEncoder] = load_chosen,
) -> TextEncoder:
    """The encoder that made `features`, as named by its manifest (`chosen_weights` decides which weights are opened).

    Args:
        features: the indexed photos.
        weights: the encoder's weights if they are files; None: the bundled or published ones that the manifest names.
        device: a torch device.
        dtype: the encoder's number format.
        load: loads it, or has it already.

    Raises:
        QpertError: the encoder or its weights cannot be loaded, or they are not the ones that made the features; or the
            manifest names files and `weights` does not.
    """
    made_with = MadeWith.of(features.manifest, features.root)
    name, chosen = made_with.encoder, made_with.weights(weights)
    title = f"{name} ({chosen or 'miniature'})"
    try:
        digest = weights_identity(resolve_weights(name, chosen)).get("digest")
        encoder = load(TextEncoderChoice(twin_of(name), chosen, digest, device, dtype))
    except (QpertError, OSError) as error:
        raise QpertError(
            f"cannot load the encoder {title} that made {features.root}: {error}; "
            "if its weights have moved, say where they are with --weights"
        ) from error
    if len({made_with.digest, digest} - {None}) > 1 or encoder.dim != features.dim:
        raise QpertError(
            f"{title} has other weights than those that made {features.root}: index the photos again, "
            "or name the original weights with --weights"
        )
    return encoder


@dataclass(frozen=True)
class EmbeddedTexts:
    """Texts with known vectors; callable like the `embed_texts` argument of `evaluate`.

    Attributes:
        vectors: unit vectors [T, D].
        rows: text -> its row.
    """

    vectors: Float32
    rows: Mapping[str, int]

    @classmethod
    def of(cls, encoder: TextEncoder, captions: Iterable[CaptionedImage]) -> EmbeddedTexts:
        """Embeds each distinct caption once."""
        texts = list(dict.fromkeys(caption for image in captions for caption in image.captions))
        return cls(embed_texts(encoder, texts), {text: row for row, text in enumerate(texts)})

    def __call__(self, texts: Sequence[str]) -> Float32:
        """Unit vectors [T, D] of some of the texts."""
        return self.vectors[np.array([self.rows[text] for text in texts], np.int64)]


def embed_texts(encoder: TextEncoder, texts: Sequence[str], *, batch: int = _TEXT_BATCH) -> Float32:
    """Unit vectors [T, D] of texts, in batches. Equal texts get one vector, bit for bit.

    Warns once about texts that the encoder truncates, and once about texts of which it knows no word.
    """
    index = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = list(index)
    for message in reading_warnings(encoder, distinct):
        warnings.warn(message, stacklevel=2)
    parts = [_as_array(encoder.embed_text(distinct[start : start + batch])) for start in range(0, len(distinct), batch)]
    if not parts:
        return np.zeros((0, encoder.dim), np.float32)
    return unit(np.concatenate(parts), "the text embeddings")[[index[text] for text in texts]]


def _as_array(vectors: Any) -> Float32:
    """Vectors of a text tower as they are, those of torch as a float32 array."""
    return vectors if isinstance(vectors, np.ndarray) else vectors.detach().float().cpu().numpy()


def reading_warnings(encoder: TextEncoder, texts: Sequence[str]) -> list[str]:
    """What a user should know about how an encoder reads texts: which it truncates, and of which it knows no word."""
    reading = encoder.read_texts(texts) if hasattr(encoder, "read_texts") and texts else None
    if reading is None:
        return []
    messages = []
    long = [text for text, cut in zip(texts, reading.cut, strict=True) if cut]
    if long:
        messages.append(
            f"{len(long):,} of {len(texts):,} texts are longer than the {reading.limit} tokens that {encoder.name}"
            f" reads, and their ends were cut off: {_quoted(long)}"
        )
    strange = [text for text, unknown in zip(texts, reading.strange or [False] * len(texts), strict=True) if unknown]
    if strange:
        words = ", ".join(reading.words[:_SHOWN_WORDS]) + (", ..." if len(reading.words) > _SHOWN_WORDS else "")
        messages.append(
            f"none of the words of {_quoted(strange)} is known to this small {encoder.name} (the miniature model, or"
            f" one trained like it), so what it finds means nothing; it knows only: {words}"
        )
    return messages


def _quoted(texts: Sequence[str]) -> str:
    """The first few, each shortened, in quotes that escape control characters."""
    shown = [
        repr(text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}...") for text in texts[:_SHOWN_TEXTS]
    ]
    rest = len(texts) - _SHOWN_TEXTS
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")

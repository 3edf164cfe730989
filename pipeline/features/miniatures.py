"""What users must know where the bundled miniature models, which were trained on drawn shapes, meet real photos."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pipeline.features.fingerprint import bundled
from pipeline.features.manifest import Manifest

ENCODER_FOR_PHOTOS = ("--encoder open_clip --weights ViT-B-16-SigLIP2-256:webli", "1.5 GB")
DETECTOR_FOR_PHOTOS = ("--detector hf:Roboflow/rf-detr-base", "130 MB")
"""Options that choose models for real photos, and what they download."""
REMINDER = "miniature models and real photos do not go together: see the warning above"


def miniatures_of(manifest: Manifest) -> tuple[str | None, bool]:
    """The name of the encoder if the features were made by its miniature, and whether the detector was the miniature.

    The manifest may come from anybody: values of other types count as models of one's own.
    """
    weights = manifest.encoder.get("weights")
    # Bundled weights have a digest. An encoder that a program brings along has none, and `config` does not name it.
    known = isinstance(weights, Mapping) and weights.get("digest") is not None
    encoder = str(manifest.encoder.get("name")) if known and is_miniature(manifest.config.get("weights")) else None
    detector = manifest.config.get("detector")
    return encoder, isinstance(detector, Mapping) and detector.get("model") == "miniature"


def is_miniature(weights: object) -> bool:
    """Whether an encoder's weights, as options name them, are bundled."""
    if weights is None or weights == "miniature":
        return True
    return isinstance(weights, str) and os.path.dirname(weights) == os.path.dirname(bundled(None, "coca"))


def warning_of(manifest: Manifest) -> str | None:
    """The warning for whoever makes, searches or shows these features; None if there is nothing to warn of."""
    encoder, detector = miniatures_of(manifest)
    return miniature_warning(encoder, detector=detector, scenes=manifest.scenes)


def miniature_warning(
    encoder: str | None, *, detector: bool, scenes: bool | None, advice: tuple[str, str] | None = None
) -> str | None:
    """A warning of several lines; None where the photos are scenes, or no model is a miniature.

    Args:
        encoder: name of the encoder whose miniature is used; None: it has weights of its own.
        detector: the detector is the miniature.
        scenes: whether the photos are scenes; None if unknown.
        advice: options that choose another encoder for photos, and its size; None: `ENCODER_FOR_PHOTOS`.
    """
    if scenes or (encoder is None and not detector):
        return None
    where = "REAL PHOTOS" if scenes is False else "PHOTOS THAT MAY NOT BE SCENES"
    lines = [f"MINIATURE {'DETECTOR' if encoder is None else 'MODEL' if not detector else 'MODELS'} ON {where}"]
    if encoder is not None:
        lines.append(
            f"The encoder {encoder} is the bundled miniature, trained on drawn shapes alone: on real photos"
            " its embeddings and captions mean nothing, and neither does what a search finds with them."
        )
    if detector:
        lines.append(
            "The detector is the bundled miniature, which knows drawn shapes alone: in real photos the objects that it"
            " names are not there."
        )
    if scenes is None:
        lines.append("Whether these photos are scenes is not known. If they are (qpert scenes), all is well.")
    chosen = [advice or ENCODER_FOR_PHOTOS] if encoder is not None else []
    chosen += [DETECTOR_FOR_PHOTOS] if detector else []
    lines.append(f"For real photos use: {' '.join(options for options, _ in chosen)}")
    lines.append(f"When first used they download {' and '.join(size for _, size in chosen)}.")
    return "\n".join(lines)

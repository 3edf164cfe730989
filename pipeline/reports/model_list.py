"""Lists of encoders and detectors, and all that is known of one encoder, as text and as figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.encoders.acquiring import ways_to_get
from pipeline.encoders.catalogue import UNKNOWN, CatalogueEntry
from pipeline.encoders.downloads import weights_here
from pipeline.encoders.published_speed import A100, a100_rates, teraflops
from pipeline.encoders.spec import WORKING_MEMORY
from pipeline.reports.text_table import terminal

_HEADERS = ("weights", "encoder", "sites", "tokens", "V x D", "millions", "float32", "half", "licence", "here")
DETECTORS = (
    ("miniature", "the bundled YOLO, which knows only drawn shapes; needs the extra yolo (AGPL-3.0)"),
    ("yolo11n, yolo26n, ...", "ultralytics' names, .pt and .onnx files; needs the extra yolo (AGPL-3.0)"),
    ("hf:MODEL", "a detector of transformers: rf_detr, d_fine, deimv2, rt_detr_v2, rt_detr, lw_detr, detr, ..."),
    ("hf:MODEL with --classes", "open vocabulary: grounding-dino, mm-grounding-dino, omdet-turbo, owlv2, owlvit"),
    ("annotated", "boxes of Flickr30K Entities, COCO or COCO Entities, named by --detector.annotations"),
    ("none", "no objects: plain embeddings"),
)
"""Values of `--detector` and what they are; the kinds after `hf:` are transformers' model types."""


def models_text(entries: Sequence[CatalogueEntry]) -> str:
    """A table, a line for each entry, and what its columns mean."""
    rows = [
        [
            entry.weights,
            entry.encoder,
            str(entry.sites or "plain"),
            f"{entry.spec.tokens} x {entry.spec.width}",
            f"{entry.spec.vectors} x {entry.spec.dim}",
            f"{entry.spec.parameters / 1e6:,.0f}",
            _memory(entry, "float32"),
            _memory(entry, "float16"),
            entry.licence,
            _here(entry),
        ]
        for entry in entries
    ]
    return f"{terminal(_HEADERS, rows)}\n\n" + (
        "sites: cross-attentions that objects can act on (plain: none). tokens: N x C. millions: of parameters.\n"
        "float32, half: gigabytes of a GPU or of main memory, 1.1 of them to work with. here: whether the weights are\n"
        "on this machine. qpert models NAME says more of one and how to get it; qpert models --all lists the rest."
    )


def one_model(entries: Sequence[CatalogueEntry]) -> str:
    """All that is known of a model, and how to get its weights.

    Args:
        entries: the model with some of its weights; the first are described, the others named.
    """
    entry = entries[0]
    lines = {"encoder": entry.encoder, **_facts(entry), **ways_to_get(entry)}
    if len(entries) > 1:
        lines["others"] = ", ".join(
            other.weights if other.encoder == entry.encoder else f"{other.encoder} {other.weights}"
            for other in entries[1:]
        )
    return f"{entry.weights}\n\n" + "\n".join(f"{name:<12} {text}" for name, text in lines.items())


def detectors_text() -> str:
    """A line for each kind of detector."""
    width = max(len(name) for name, _ in DETECTORS)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in DETECTORS)


def as_figures(entry: CatalogueEntry) -> dict[str, Any]:
    """An entry for programs: bytes and counts, None where unknown."""
    spec, folder = entry.spec, weights_here(entry.encoder, entry.weights)
    figures = dataclasses.asdict(entry)
    sizes = figures.pop("spec")
    return {
        **figures,
        **sizes,
        "licence": None if entry.licence == UNKNOWN else entry.licence,
        "memory": {dtype: spec.memory(dtype) for dtype in ("float32", "float16", "bfloat16")},
        "bundled": entry.bundled,
        "cached_in": None if folder is None else str(folder),
        "get": ways_to_get(entry),
    }


def _facts(entry: CatalogueEntry) -> Mapping[str, str]:
    spec = entry.spec
    photo = "its own shape" if entry.image_size is None else f"{entry.image_size} x {entry.image_size} pixels"
    facts = {
        "sites": f"{entry.sites} cross-attention{'s' * (entry.sites != 1)} that objects can act on"
        if entry.sites
        else "none: it runs plain (--perturbation none), and objects cannot act on it",
        "photo": f"{photo}, {spec.tokens} tokens x {spec.width}",
        "embedding": f"{spec.vectors} x {spec.dim}, {2 * spec.embedding_values / 1000:.1f} kB a photo in float16",
        "token cache": f"{spec.token_bytes('float16') / 1e6:.2f} MB a photo in float16, if qpert tune keeps tokens",
        "parameters": f"{spec.parameters:,}, text tower included",
        "memory": f"{_memory(entry, 'float32')} GB in float32, {_memory(entry, 'float16')} in float16 and bfloat16,"
        f" {WORKING_MEMORY / 1e9:.1f} of them to work with",
    }
    if entry.gigaflops is not None:
        facts["work"] = f"{entry.gigaflops:,.1f} GFLOP a photo, without its objects"
        facts["on an A100"] = _on_an_a100(entry.name, entry.gigaflops)
    facts["licence"] = entry.licence if entry.licence != UNKNOWN else "unknown here; see its page"
    return facts


def _on_an_a100(name: str, gigaflops: float) -> str:
    if name in A100:
        return f"{A100[name]:,} images/s, which clip-retrieval has published"
    rates = " to ".join(f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" for rate in a100_rates(gigaflops))
    published = ", ".join(f"{model} {rate:,}" for model, rate in A100.items())
    reached = " to ".join(f"{rate:.0f}" for rate in teraflops())
    return (
        f"{rates} images/s, if it reaches the {reached} TFLOP/s of clip-retrieval's published runs ({published}"
        " images/s); qpert plan measures"
    )


def _memory(entry: CatalogueEntry, dtype: str) -> str:
    return f"{entry.spec.memory(dtype) / 1e9:.1f}"


def _here(entry: CatalogueEntry) -> str:
    if entry.bundled:
        return "bundled"
    return "no" if weights_here(entry.encoder, entry.weights) is None else "yes"

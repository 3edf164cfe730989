"""Lists of models, as text and for programs."""

from __future__ import annotations

import json

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES,
)

from pipeline.encoders.catalogue import UNKNOWN, catalogue, find_entries
from pipeline.reports.model_list import DETECTORS, as_figures, detectors_text, models_text, one_model


def test_a_table_has_a_line_for_each_entry() -> None:
    entries = catalogue()
    lines = models_text(entries).splitlines()
    assert len(lines) == len(entries) + 2 + 4  # header, rule, empty line and three of explanation
    line = next(line for line in lines if line.startswith("ViT-B-16-SigLIP2-256:webli"))
    assert line.split() == [
        *("ViT-B-16-SigLIP2-256:webli", "open_clip", "1", "256", "x", "768", "1", "x", "768", "375", "2.6", "1.8"),
        *("Apache-2.0", "no"),
    ]
    assert next(line for line in lines if line.startswith("ViT-B-32:openai")).split()[2] == "plain"
    assert max(map(len, lines)) < 160


def test_one_model_has_sizes_work_licence_and_other_weights() -> None:
    text = one_model(find_entries("ViT-L-14"))
    for part in (
        "ViT-L-14:openai\n",
        "none: it runs plain",
        "257 tokens x 1024",
        "427,616,513",
        "162.0 GFLOP",
        "312 images/s, which clip-retrieval has published",
        "MIT",
        "--perturbation none",
        "ViT-L-14:laion2b_s32b_b82k",
    ):
        assert part in text
    assert "471 to 1,080 images/s, if it reaches the 22 to 51 TFLOP/s" in one_model(
        find_entries("ViT-B-16-SigLIP2-256")
    )


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    (entry,) = find_entries("nllb-clip-base:v1")
    assert entry.licence == UNKNOWN
    assert as_figures(entry)["licence"] is None
    assert "unknown here; see its page" in one_model([entry])


def test_figures_are_bytes_and_counts() -> None:
    (entry,) = find_entries("PE-Core-L-14-336:meta")
    figures = json.loads(json.dumps(as_figures(entry)))
    assert figures["memory"]["float16"] == 2 * 671_138_817 + 2**30 == figures["memory"]["bfloat16"]
    assert (figures["tokens"], figures["width"], figures["vectors"], figures["dim"]) == (577, 1024, 1, 1024)
    assert figures["sites"] == 1
    assert figures["get"]["use"].endswith("--encoder open_clip --weights PE-Core-L-14-336:meta")


def test_detectors_name_kinds_that_transformers_has() -> None:
    text = dict(DETECTORS)
    plain, prompted = text["hf:MODEL"].partition(": ")[2], text["hf:MODEL with --classes"].partition(": ")[2]
    assert {*plain.split(", ")} - {"..."} <= MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES.keys()
    assert {*prompted.split(", ")} == MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES.keys()
    assert len(detectors_text().splitlines()) == len(DETECTORS)

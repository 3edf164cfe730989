"""What can be loaded: names are found, facts agree with the models, and licences are stated only where known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.encoders import encoder_spec, list_encoders, load_encoder, miniature_encoders
from pipeline.encoders.catalogue import (
    BUNDLED,
    UNKNOWN,
    CatalogueEntry,
    catalogue,
    find_entries,
    licence_of,
    models_without_weights,
)


def test_the_short_list_has_what_people_use() -> None:
    entries = [entry for entry in catalogue() if entry.recommended]
    weights = {entry.weights for entry in entries}
    assert {"ViT-B-16-SigLIP2-256:webli", "PE-Core-L-14-336:meta", "ViT-B-32:openai", BUNDLED} <= weights
    assert len(entries) < 40 < len(catalogue())
    assert {entry.encoder for entry in catalogue()} <= {*list_encoders()}
    keys = [(entry.encoder, entry.weights) for entry in catalogue()]
    assert len(keys) == len({*keys})


@pytest.mark.parametrize("name", [*miniature_encoders(), "internvl-c"])
def test_miniatures_have_the_sites_and_sizes_of_their_models(name: str) -> None:
    (entry,) = find_entries(f"{name} {BUNDLED}")
    encoder = load_encoder(name)
    assert entry.sites == len(encoder.sites())
    assert (entry.image_size, entry.spec.tokens) == (encoder.grid.image_size, encoder.grid.tokens)
    assert (entry.spec.vectors, entry.spec.dim) == (encoder.vectors, encoder.dim)
    assert entry.bundled
    assert entry.spec == replace(encoder_spec(name, None), sites=entry.sites)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["internvl", "internvl-c"])
def test_published_models_have_the_sizes_of_their_classes(name: str) -> None:
    """At 364 pixels, which the encoder assumes of a model that is not here."""
    (entry,) = find_entries(f"{name} OpenGVLab/InternVL-14B-Flickr30K-FT-364px")
    assert entry.spec == replace(encoder_spec(name, entry.weights), sites=entry.sites)


@pytest.mark.parametrize("size", ["base", "so400m"])
def test_siglip2_has_the_sizes_that_its_encoder_states(size: str) -> None:
    (entry,) = find_entries(f"google/siglip2-{size}-patch16-naflex")
    assert entry.spec == replace(encoder_spec("siglip2", entry.weights), sites=entry.sites)


def test_blip2_has_about_the_parameters_that_memory_is_planned_by() -> None:
    (entry,) = find_entries("blip2 Salesforce/blip2-itm-vit-g-coco")
    planned = encoder_spec("blip2", entry.weights)
    assert (entry.spec.tokens, entry.spec.width, entry.spec.vectors, entry.spec.dim) == (677, 1408, 32, 256)
    assert entry.spec.memory("float16") == pytest.approx(planned.memory("float16"), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ViT-B-16-SigLIP2-256:webli", ["ViT-B-16-SigLIP2-256:webli"]),
        ("vit-b-16-siglip2-256", ["ViT-B-16-SigLIP2-256:webli"]),
        ("timm/PE-Core-B-16", ["PE-Core-B-16:meta"]),
        ("hf-hub:timm/PE-Core-B-16", ["PE-Core-B-16:meta"]),
        ("internvl-c", [BUNDLED, "OpenGVLab/InternVL-14B-224px", "OpenGVLab/InternVL-14B-Flickr30K-FT-364px"]),
        ("ViT-gopt", ["ViT-gopt-16-SigLIP2-256:webli", "ViT-gopt-16-SigLIP2-384:webli"]),
        ("no such model", []),
    ],
)
def test_entries_are_found_by_name_model_repository_encoder_or_part(name: str, found: list[str]) -> None:
    assert [entry.weights for entry in find_entries(name)] == found


@pytest.mark.parametrize("name", ["siglip2", "SigLIP2", "blip2", "coca", "open_clip"])
def test_a_name_of_an_encoder_and_of_models_finds_both(name: str) -> None:
    """`siglip2` is an encoder, and what models of the encoder open_clip are called."""
    entries = find_entries(name)
    whole = [entry for entry in catalogue() if name.lower() in f"{entry.encoder} {entry.weights}".lower()]
    assert {entry.encoder for entry in whole} >= {name.lower()}
    assert {(entry.encoder, entry.weights) for entry in entries} >= {(entry.encoder, entry.weights) for entry in whole}
    if name == "siglip2":
        assert "ViT-B-16-SigLIP2-256:webli" in [entry.weights for entry in entries]


def test_a_model_without_its_tag_is_all_its_weights() -> None:
    assert {entry.weights for entry in find_entries("RN50")} == {"RN50:openai", "RN50:yfcc15m", "RN50:cc12m"}


def test_models_without_published_weights_are_not_listed() -> None:
    names = {model.name for model in models_without_weights()}
    assert "ViT-e-14" in names
    assert not names & {entry.name for entry in catalogue()}


@pytest.mark.parametrize(
    ("repository", "tag", "licence"),
    [
        ("timm/ViT-B-16-SigLIP2-256", "webli", "Apache-2.0"),
        ("timm/PE-Core-B-16", "meta", "Apache-2.0"),
        ("timm/vit_base_patch32_clip_224.openai", "openai", "MIT"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "laion2b_s34b_b79k", "MIT"),
        ("laion/CLIP-convnext_base-laion400M-s13B-b51K", "laion400m_s13b_b51k", UNKNOWN),
        ("apple/DFN2B-CLIP-ViT-B-16", "dfn2b", "apple-ascl"),
        ("somebody/something", "", UNKNOWN),
    ],
)
def test_licences_are_stated_where_they_are_known(repository: str, tag: str, licence: str) -> None:
    assert licence_of(repository, tag) == licence


def test_models_that_objects_can_act_on_say_so() -> None:
    sites = {(entry.encoder, entry.weights): entry.sites for entry in catalogue()}
    assert sites["open_clip", "ViT-B-16-SigLIP2-256:webli"] == sites["open_clip", "RN50:openai"] == 1
    assert sites["coca", "coca_ViT-L-14:laion2b_s13b_b90k"] == 1
    assert sites["open_clip", "ViT-B-32:openai"] == 0
    assert sites["internvl", "OpenGVLab/InternVL-14B-224px"] == 17
    assert sites["internvl-c", "OpenGVLab/InternVL-14B-224px"] == 1
    assert all(isinstance(entry, CatalogueEntry) and entry.spec.dim for entry in catalogue())

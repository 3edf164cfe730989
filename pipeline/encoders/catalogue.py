"""What can be loaded: encoders with their weights, sizes, licences, and where the weights are published.

Nothing is loaded or fetched to list them, and neither torch nor a model library is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.encoders.open_clip.sizes import HUB
from pipeline.encoders.open_clip.table import OpenClipModel, open_clip_models
from pipeline.encoders.registry import ENCODERS, miniature_encoders
from pipeline.encoders.spec import EncoderSpec

BUNDLED = "miniature"
UNKNOWN = "unknown"
_LICENCES = (
    ("timm/PE-Core-*", "Apache-2.0"),
    ("timm/ViT-*-SigLIP*", "Apache-2.0"),
    ("laion/*laion2B*", "MIT"),
    ("apple/DFN2B-*", "apple-ascl"),
)
"""Repositories -> licence of their weights, as their pages or timm's configurations say."""
_LICENCES_BY_TAG = {"openai": "MIT", "laion400m_e31": "MIT", "laion400m_e32": "MIT"}
_MINIATURE_SIDE = 112
"""Image size of all bundled miniatures."""


@dataclass(frozen=True)
class CatalogueEntry:
    """An encoder with weights that it loads.

    Attributes:
        encoder: for `--encoder`.
        weights: for `--weights`.
        image_size: side of the square photo that the model sees, in pixels; None: it keeps the photo's own shape.
        spec: sizes, all of them known.
        repository: on the Hugging Face hub, or a file in one; "" if the weights come with the package.
        licence: of the weights; "unknown" where neither the repository's page nor timm says.
        gigaflops: floating-point operations for the embedding of one photo without objects, in 10^9, a multiplication
            and an addition being two; None if not counted.
        recommended: part of the short list.
    """

    encoder: str
    weights: str
    image_size: int | None
    spec: EncoderSpec
    repository: str = ""
    licence: str = UNKNOWN
    gigaflops: float | None = None
    recommended: bool = True

    @property
    def sites(self) -> int:
        """Cross-attentions that objects can act on; 0: it runs plain only."""
        assert self.spec.sites is not None
        return self.spec.sites

    @property
    def name(self) -> str:
        """The model without its tag, or the repository."""
        return self.weights.partition(":")[0]

    @property
    def bundled(self) -> bool:
        """Whether the weights come with the package."""
        return not self.repository


_BLIP2, _INTERNVL = "Salesforce/blip2-itm-vit-g", "OpenGVLab/InternVL-14B"


def _published(
    encoder: str, name: str, image_size: int | None, spec: EncoderSpec, gigaflops: float | None = None
) -> CatalogueEntry:
    licence = "Apache-2.0" if encoder == "siglip2" else "MIT"
    return CatalogueEntry(encoder, name, image_size, spec, name, licence, gigaflops)


def _internvl(encoder: str, name: str, image_size: int, parameters: int, gigaflops: float) -> CatalogueEntry:
    sites, tokens = 17 if encoder == "internvl" else 1, (image_size // 14) ** 2 + 1
    spec = EncoderSpec(parameters, tokens, width=3200, vectors=1, dim=768, sites=sites)
    return _published(encoder, f"{_INTERNVL}-{name}", image_size, spec, gigaflops)


def _naflex(size: str, parameters: int, width: int) -> CatalogueEntry:
    spec = EncoderSpec(parameters, tokens=256, width=width, vectors=1, dim=width, sites=1)
    return _published("siglip2", f"google/siglip2-{size}-patch16-naflex", None, spec)


_PUBLISHED = (
    _published("blip2", _BLIP2, 224, EncoderSpec(1_172_032_258, 257, 1408, 32, 256, 186_080_002, sites=6), 533.5),
    _published(
        "blip2", f"{_BLIP2}-coco", 364, EncoderSpec(1_172_623_618, 677, 1408, 32, 256, 186_080_002, sites=6), 1458.1
    ),
    _internvl("internvl", "224px", 224, 13_834_975_747, 4663.6),
    _internvl("internvl", "Flickr30K-FT-364px", 364, 13_836_319_747, 10240.9),
    _internvl("internvl-c", "224px", 224, 13_834_975_747, 3083.8),
    _internvl("internvl-c", "Flickr30K-FT-364px", 364, 13_836_319_747, 8298.1),
    _naflex("base", 375_234_050, 768),
    _naflex("so400m", 1_135_670_962, 1152),
)
"""Sizes and work of the published models, as their classes have them on the meta device."""
_RECOMMENDED = frozenset(
    {
        "ViT-B-16-SigLIP2-256:webli",
        "ViT-L-16-SigLIP2-384:webli",
        "ViT-SO400M-16-SigLIP2-384:webli",
        "PE-Core-B-16:meta",
        "PE-Core-L-14-336:meta",
        "PE-Core-bigG-14-448:meta",
        "ViT-B-32:openai",
        "ViT-B-32:laion2b_s34b_b79k",
        "ViT-L-14:openai",
        "ViT-L-14:laion2b_s32b_b82k",
        "coca_ViT-B-32:laion2b_s13b_b90k",
        "coca_ViT-L-14:laion2b_s13b_b90k",
    }
)
"""Weights of open_clip in the short list."""


def catalogue() -> list[CatalogueEntry]:
    """All that can be loaded by name: the bundled miniatures, then published weights."""
    return [*_miniatures(), *_PUBLISHED, *_open_clip()]


def find_entries(name: str) -> list[CatalogueEntry]:
    """The entries that `name` means: those of a model, weights or a repository, else all that contain it.

    The name of an encoder is part of its entries' names. Upper and lower case are the same. Empty if there are none.
    """
    wanted, entries = name.casefold(), catalogue()
    for names in (_full_names, lambda entry: [entry.name]):
        if exact := [entry for entry in entries if wanted in map(str.casefold, names(entry))]:
            return exact
    return [entry for entry in entries if any(wanted in text.casefold() for text in _full_names(entry))]


def _full_names(entry: CatalogueEntry) -> list[str]:
    repository = [entry.repository, f"{HUB}{entry.repository}"] if entry.repository else []
    return [f"{entry.encoder} {entry.weights}", entry.weights, *repository]


def models_without_weights() -> list[OpenClipModel]:
    """Models of open_clip that nobody has published weights for by a tag: only `NAME:/path/to/file` loads them."""
    return [model for model in open_clip_models().values() if not model.weights]


def _miniatures() -> Iterator[CatalogueEntry]:
    for name in [*miniature_encoders(), "internvl-c"]:
        yield CatalogueEntry(name, BUNDLED, _MINIATURE_SIDE, ENCODERS[name].sizes, licence="Apache-2.0")


def _open_clip() -> Iterator[CatalogueEntry]:
    for model in open_clip_models().values():
        for tag, repository in model.weights.items():
            weights = f"{model.name}:{tag}"
            yield CatalogueEntry(
                encoder="coca" if model.name.startswith("coca_") else "open_clip",
                weights=weights,
                image_size=model.image_size,
                spec=model.spec,
                repository=repository,
                licence=licence_of(repository, tag),
                gigaflops=model.gigaflops,
                recommended=weights in _RECOMMENDED,
            )


def licence_of(repository: str, tag: str = "") -> str:
    """Licence of published weights, as far as it is known here."""
    if tag in _LICENCES_BY_TAG:
        return _LICENCES_BY_TAG[tag]
    return next((licence for pattern, licence in _LICENCES if fnmatchcase(repository, pattern)), UNKNOWN)

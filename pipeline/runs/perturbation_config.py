"""The options of a perturbation, and the presets of the miniature encoders."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from pipeline.method.settings import Perturbation


Preset = Literal["qpert", "paper", "one-component", "released", "none"]


class PerturbationConfig(BaseModel):
    """A preset, and the fields that differ from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field(
        "paper",
        description="qpert: centred keys, kept norms; paper: as the paper describes it; one-component: the same, with"
        " the first component always kept; released: as the authors' code computes it; none: plain",
    )
    operator: Literal["subspace", "orthogonal", "eigenvector-rows", "complement", "scaled", "random"] | None = Field(
        None, description="what an object does to a query (default: the preset's)"
    )
    combine: Literal["sum", "mean"] | None = Field(None, description="over a photo's objects (default: the preset's)")
    tokens: Literal["overlap", "coverage"] | None = Field(
        None, description="a token counts when touched, or by its covered share (default: the preset's)"
    )
    weight: Literal["area", "1-area", "area-0.5", "0.5-area", "constant", "-area"] | None = Field(
        None, description="weight of an object by its share of the photo's area (default: the preset's)"
    )
    scale: float | None = Field(
        None, allow_inf_nan=False, description="strength; the paper tries 2 to 10 (default: the preset's)"
    )
    threshold: float | None = Field(
        None, gt=0, le=1, description="share of the keys' energy to keep; the paper: 0.8-0.99 (default: the preset's)"
    )
    stages: tuple[Literal["itc", "itm", "lm"], ...] | None = Field(
        None, description="where queries are perturbed; an index uses itc (default: the preset's)"
    )
    min_components: Literal[0, 1] | None = Field(
        None, description="1 keeps the first component of every object (default: the preset's)"
    )
    sites: tuple[int | str, ...] | None = Field(
        None, description="cross-attentions to perturb, by number or name, such as 0 2 'qllama.*' (default: all)"
    )
    artefacts: Literal["keep", "drop"] | None = Field(
        None, description="drop: image tokens of outlying norm belong to no object (default: keep)"
    )

    pca: Literal["uncentred", "centred", "background-out"] | None = Field(
        None, description="keys that span an object's subspace (default: uncentred, as they are)"
    )
    background: float | None = Field(
        None, gt=0, le=1, description="share of all keys' energy that background-out projects out (default: 0.9)"
    )
    norm: Literal["free", "keep"] | None = Field(
        None, description="keep: perturbed queries are scaled back to their length (default: free)"
    )
    boxes: Literal["own", "shuffled", "elsewhere"] | None = Field(
        None, description="controls: other photos' boxes, or boxes where no object is (default: own)"
    )
    seed: int | None = Field(None, ge=0, lt=2**32, description="of random, shuffled and elsewhere (default: 0)")

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, value: Any) -> Any:
        """Accepts a `Perturbation` as well, and None for plain embeddings."""
        if value is None:
            return {"preset": "none"}
        if isinstance(value, PerturbationConfig) and not isinstance(value, cls):
            return value.model_dump()
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return value

    def build(self) -> Perturbation | None:
        """Builds the perturbation; None for plain embeddings.

        Raises:
            QpertError: the values contradict each other.
        """
        from pipeline.method.settings import Perturbation  # imports torch, which `--help` does without

        if self.preset == "none":
            return None
        base = _named()[self.preset]
        names = {field.name for field in dataclasses.fields(Perturbation)}
        given = {name: value for name, value in self if name in names and value is not None}
        return dataclasses.replace(base, **given)


class IndexPerturbationConfig(PerturbationConfig):
    """The same for an index, where another preset is the default."""

    preset: Preset = Field("qpert", description=PerturbationConfig.model_fields["preset"].description)


EARLIER_DEFAULT: Preset = "one-component"
"""What an index did by default before `qpert`."""


def preset_of(recorded: Any) -> str | None:
    """The preset with exactly the values of a recorded perturbation (`Perturbation.as_dict` as JSON), if any."""
    if recorded is None:
        return "none"
    same = (name for name, named in _named().items() if json.loads(json.dumps(named.as_dict())) == recorded)
    return next(same, None)


def _named() -> dict[str, Perturbation]:
    from pipeline.method.settings import Perturbation  # imports torch, which `--help` does without

    return {
        "qpert": Perturbation.qpert(),
        "paper": Perturbation.paper(),
        "one-component": Perturbation.one_component(),
        "released": Perturbation.released(),
    }


MINIATURE = PerturbationConfig(preset="one-component", weight="1-area", scale=0.25, threshold=0.99)
"""For the miniature CoCa: of 45 settings on 1,000 other scenes (series 2, annotated boxes), the one with the highest
Recall@1 for the smallest objects that loses less than 1.25 points overall. The paper's scales, 2 to 10, are too
strong for it."""
MINIATURE_BLIP2 = PerturbationConfig(preset="one-component", weight="constant", scale=1, threshold=0.99)
"""For the miniature BLIP-2: of 40 settings on 500 scenes of series 2, the one with the highest Recall@1 overall except
for `area`, which does nothing for small objects; among the best for these."""
MINIATURE_INTERNVL = PerturbationConfig(preset="one-component", weight="constant", scale=0.5, threshold=0.99)
"""For the miniature InternVL-G: of 92 settings on 500 scenes of series 2, close to the highest Recall@1 both overall
and for the smallest objects."""
MINIATURE_SIGLIP = PerturbationConfig(preset="one-component", weight="1-area", scale=0.5, threshold=0.99)
"""For the miniature in SigLIP2's manner: of 54 settings on 1,000 scenes of series 2 with annotated boxes, close to the
highest Recall@1 both overall and for the smallest objects."""
MINIATURES = {
    "blip2": MINIATURE_BLIP2,
    "internvl": MINIATURE_INTERNVL,
    "internvl-c": MINIATURE_INTERNVL,
    "open_clip": MINIATURE_SIGLIP,
}
"""Preset by encoder; `MINIATURE` for all others."""

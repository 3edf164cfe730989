"""Groups of options that several verbs share, kept free of torch so that ``--help`` is quick."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from pipeline.method.settings import Perturbation


ACCELERATORS: Any = Field(
    None, description="GPU types to use, by Ray's names (A100 GeForce-GTX-1080-Ti), or none (default: every GPU)"
)
WAIT: Any = Field(
    0, ge=0, description="minutes to wait for the GPU types named; an autoscaling cluster is asked for one of each"
)
PATIENCE: Any = Field(
    30,
    gt=0,
    le=10_000,
    description="minutes without anything done after which a run counts as stuck and begins anew where it was; a"
    " process counts as stuck after a third of it",
)
"""Fields of every command that runs actors over photos."""


@dataclass(frozen=True)
class OnMachines:
    """How a command uses the machines that there are: the options of those names.

    Of features that were indexed before, `accelerators` and `patience` are None where they shall be as they were then.
    """

    accelerators: list[str] | None = None
    wait: float = 0
    patience: float | None = 30
    address: str | None = None
    cpus: int | None = None
    verbose: bool = False

    @classmethod
    def of(cls, config: BaseModel) -> OnMachines:
        """Those of a command."""
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})


class PerturbationConfig(BaseModel):
    """A preset, and what shall differ from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["paper", "released", "none"] = Field(
        "paper",
        description="paper: as the paper describes it; released: as the authors' code computes it; none: plain",
    )
    operator: Literal["subspace", "orthogonal", "eigenvector-rows"] | None = Field(
        None, description="what an object does to a query (default: the preset's)"
    )
    combine: Literal["sum", "mean"] | None = Field(None, description="over a photo's objects (default: the preset's)")
    tokens: Literal["overlap", "coverage"] | None = Field(
        None, description="a token counts when touched, or by its covered share (default: the preset's)"
    )
    weight: Literal["area", "1-area", "area-0.5", "0.5-area", "constant", "-area"] | None = Field(
        None, description="weight of an object by its share of the photo's area (default: the preset's)"
    )
    scale: float | None = Field(None, description="strength; the paper tries 2 to 10 (default: the preset's)")
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

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, value: Any) -> Any:
        """A `Perturbation` counts as well, and so does None."""
        if value is None:
            return {"preset": "none"}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return value

    def build(self) -> Perturbation | None:
        """The perturbation that this describes; None for plain embeddings.

        Raises:
            QpertError: values that do not go together.
        """
        from pipeline.method.settings import Perturbation

        if self.preset == "none":
            return None
        base = Perturbation.paper() if self.preset == "paper" else Perturbation.released()
        names = {field.name for field in dataclasses.fields(Perturbation)}
        given = {name: value for name, value in self if name in names and value is not None}
        return dataclasses.replace(base, **given)


MINIATURE = PerturbationConfig(weight="1-area", scale=0.25, threshold=0.99)
"""Chosen for the miniature CoCa among 45 settings on 1,000 other scenes (series 2, annotated boxes): the most Recall@1
for the smallest objects at a loss of less than 1.25 points over all. The paper's scales, 2 to 10, are too strong."""
MINIATURE_BLIP2 = PerturbationConfig(weight="constant", scale=1, threshold=0.99)
"""The same for the miniature BLIP-2, among 40 settings on 500 scenes of series 2: the most Recall@1 over all, but for
`area`, which does nothing for small objects, and among the most for these."""
MINIATURE_INTERNVL = PerturbationConfig(weight="constant", scale=0.5, threshold=0.99)
"""The same for the miniature InternVL-G, among 92 settings on 500 scenes of series 2: nearly the most Recall@1 over all
and for the smallest objects, too."""
MINIATURES = {"blip2": MINIATURE_BLIP2, "internvl": MINIATURE_INTERNVL, "internvl-c": MINIATURE_INTERNVL}
"""By encoder; `MINIATURE` for all others."""

"""How objects act on queries: the switches of Q-Perturbation, and the settings of the paper and of its released code.

No torch is imported here, so that commands can offer and check the switches before they load it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline.errors import QpertError

if TYPE_CHECKING:
    from torch import Tensor

Operator = Literal["subspace", "orthogonal", "eigenvector-rows"]
Combine = Literal["sum", "mean"]
TokenWeight = Literal["overlap", "coverage"]
Weight = Literal["area", "1-area", "area-0.5", "0.5-area", "constant", "-area"]
Stage = Literal["itc", "itm", "lm"]
Artefacts = Literal["keep", "drop"]


@dataclass(frozen=True)
class Perturbation:
    """How objects change the queries. `paper` and `released` are the two settings with a name.

    Attributes:
        operator: what an object does to a query q. `subspace`: adds its part in the key subspace, q P (the paper).
            `orthogonal`: adds its part outside, q (I - P) (OrQ-Pert of Table A, the paper's negative control).
            `eigenvector-rows`: adds q V^T M V, where the columns of V are the eigenvectors in descending order and M
            keeps the first p rows. This is what the authors' released code computes. It is a projector of the right
            rank, but not onto the key subspace, and it depends on the signs of the eigenvectors, hence on the
            linear-algebra library: use it to compare with published features only.
        combine: `sum` over the photo's objects (Algorithm 1.1), or their `mean`. Only objects that cover a token
            count: one that the crop removed must not weaken the others.
        tokens: which keys belong to an object. `overlap`: every token it touches, equally; `coverage`: each token by
            the share of its patch that is covered.
        weight: alpha as a function of the object's share of the photo's area, times `scale` (Tables C and D). `-area`
            is not in the paper: it is what the released code computes under the name of `1-area`.
        scale: factor of alpha; the paper tries 2 to 10.
        threshold: largest contribution ratio of the components that are kept, in (0, 1]; the paper tries 0.8 to 0.99.
        stages: where the queries are perturbed: image-text contrast, image-text matching, language modelling.
        min_components: 1 keeps the first component even if it alone exceeds the threshold; 0 then keeps none.
        sites: which of the encoder's cross-attentions are perturbed, by name (`*` stands for anything) or by number in
            the order of `Encoder.sites()`, counted from the end if negative; None for all, as in the paper, which
            leaves a choice to future work.
        artefacts: `drop` leaves patches of outlying norm out of every object's keys (see
            `pipeline.method.artefacts`); an object of such patches alone contributes nothing. Not in the paper.

    Raises:
        QpertError: a value that is not among these; the message lists them.
    """

    operator: Operator = "subspace"
    combine: Combine = "sum"
    tokens: TokenWeight = "overlap"
    weight: Weight = "constant"
    scale: float = 8.0
    threshold: float = 0.9
    stages: tuple[Stage, ...] = ("itc",)
    min_components: Literal[0, 1] = 1
    sites: tuple[str | int, ...] | None = None
    artefacts: Artefacts = "keep"

    def __post_init__(self) -> None:
        _check_choice("operator", self.operator, get_args(Operator))
        _check_choice("combine", self.combine, get_args(Combine))
        _check_choice("tokens", self.tokens, get_args(TokenWeight))
        _check_choice("weight", self.weight, get_args(Weight))
        _check_choice("min_components", self.min_components, (0, 1))
        _check_choice("artefacts", self.artefacts, get_args(Artefacts))
        for stage in self.stages:
            _check_choice("stages", stage, get_args(Stage))
        if not math.isfinite(self.scale):
            raise QpertError(f"perturbation scale must be a finite number, got {self.scale}; the paper tries 2 to 10")
        if not 0 < self.threshold <= 1:
            raise QpertError(
                f"perturbation threshold is the share of the keys' energy to keep and lies in (0, 1], "
                f"got {self.threshold}; the paper tries 0.8 to 0.99"
            )
        object.__setattr__(self, "stages", tuple(stage for stage in get_args(Stage) if stage in self.stages))
        if self.sites is not None:
            given = (self.sites,) if isinstance(self.sites, str | int) else self.sites
            sites = tuple(int(site) if str(site).removeprefix("-").isdigit() else site for site in given)
            object.__setattr__(self, "sites", sites)
            if not sites:
                raise QpertError("perturbation sites: name at least one cross-attention, or leave it out for all")

    @classmethod
    def paper(cls, scale: float = 8.0, threshold: float = 0.9, weight: Weight = "constant") -> Perturbation:
        """The method as the paper describes it; scale, threshold and weight are its grid (Tables C and D)."""
        return cls(scale=scale, threshold=threshold, weight=weight)

    @classmethod
    def released(cls, scale: float = 8.0, threshold: float = 0.99, weight: Weight = "constant") -> Perturbation:
        """The method as the authors' released code computes it; its `1-area` is `-area`."""
        return cls(
            operator="eigenvector-rows",
            combine="mean",
            tokens="coverage",
            weight="-area" if weight == "1-area" else weight,
            scale=scale,
            threshold=threshold,
            stages=("itc", "itm"),
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields, for files and fingerprints.

        `sites` and `artefacts` are left out at their defaults, so that fingerprints from before there was a choice stay
        the same.
        """
        values = asdict(self)
        later = {"sites": None, "artefacts": "keep"}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}

    def alphas(self, areas: Tensor) -> Tensor:
        """`scale * weight(area)` for objects with these areas (fractions of the photo, any shape)."""
        weights = {
            "area": areas,
            "1-area": 1 - areas,
            "area-0.5": areas - 0.5,
            "0.5-area": 0.5 - areas,
            "constant": areas.new_ones(areas.shape),
            "-area": -areas,
        }
        return self.scale * weights[self.weight]

    def token_weights(self, coverage: Tensor) -> Tensor:
        """m, the weight of each token's key, from the share of its patch that is covered (same shape)."""
        return (coverage > 0).to(coverage.dtype) if self.tokens == "overlap" else coverage


def _check_choice(name: str, value: object, options: tuple[object, ...]) -> None:
    if value not in options:
        raise QpertError(f"perturbation {name}: {value!r} is not one of {', '.join(map(str, options))}")

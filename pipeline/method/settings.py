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

Operator = Literal["subspace", "orthogonal", "eigenvector-rows", "complement", "scaled", "random"]
Pca = Literal["uncentred", "centred", "background-out"]
Norm = Literal["free", "keep"]
Boxes = Literal["own", "shuffled", "elsewhere"]
Combine = Literal["sum", "mean"]
TokenWeight = Literal["overlap", "coverage"]
Weight = Literal["area", "1-area", "area-0.5", "0.5-area", "constant", "-area"]
Stage = Literal["itc", "itm", "lm"]
Artefacts = Literal["keep", "drop"]


@dataclass(frozen=True)
class Perturbation:
    """How objects change the queries. `paper`, `one_component`, `released` and `qpert` are settings with a name.

    The controls among the values (`orthogonal`, `complement`, `scaled`, `random`, norm `keep`, boxes `shuffled` and
    `elsewhere`) each take one ingredient away, and so tell what a gain is due to.

    Attributes:
        operator: what an object does to a query q.

            - `subspace`: adds its part in the key subspace, q P (the paper).
            - `orthogonal`: adds its part outside, q (I - P): one reading of OrQ-Pert, Table A's negative control.
            - `complement`: OrQ-Pert as section B.1 words it: q (I - P) *in place of* the perturbed query, summed or
              averaged over the objects (`combine`). `weight` and `scale` take no part.
            - `eigenvector-rows`: adds q V^T M V, where the columns of V are the eigenvectors in descending order and M
              keeps the first p rows. This is what the authors' released code computes. It is a projector of the right
              rank, but not onto the key subspace, and it depends on the signs of the eigenvectors, hence on the
              linear-algebra library: use it to compare with published features only.
            - `scaled`: adds q: longer queries, without any subspace. A control.
            - `random`: adds q R, with R a random projector of the rank of P, drawn for each object and head. A control.
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
        pca: the keys whose principal components span an object's subspace, see `pipeline.method.backgrounds`.
            `uncentred`: the keys as they are (equation 1). `centred`: minus the photo's mean key. `background-out`:
            after projecting out the leading components of all the photo's keys. Not in the paper.
        background: largest contribution ratio of the components that `background-out` projects out, in (0, 1].
        norm: `keep` scales every perturbed query back to its length: the direction changes, the sharpness of the
            attention does not. A control; `free` is the paper.
        boxes: `own`, or a control: `shuffled`, as many boxes of other photos (`Objects.shuffled`), or `elsewhere`,
            boxes of the same sizes in places without any object (see `pipeline.method.placement`).
        seed: of `random`, `shuffled` and `elsewhere`.

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
    pca: Pca = "uncentred"
    background: float = 0.9
    norm: Norm = "free"
    boxes: Boxes = "own"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("operator", self.operator, get_args(Operator))
        _check_choice("combine", self.combine, get_args(Combine))
        _check_choice("tokens", self.tokens, get_args(TokenWeight))
        _check_choice("weight", self.weight, get_args(Weight))
        _check_choice("min_components", self.min_components, (0, 1))
        _check_choice("artefacts", self.artefacts, get_args(Artefacts))
        _check_choice("pca", self.pca, get_args(Pca))
        _check_choice("norm", self.norm, get_args(Norm))
        _check_choice("boxes", self.boxes, get_args(Boxes))
        for stage in self.stages:
            _check_choice("stages", stage, get_args(Stage))
        if not math.isfinite(self.scale):
            raise QpertError(f"perturbation scale must be a finite number, got {self.scale}; the paper tries 2 to 10")
        if not 0 < self.threshold <= 1:
            raise QpertError(
                f"perturbation threshold is the share of the keys' energy to keep and lies in (0, 1], "
                f"got {self.threshold}; the paper tries 0.8 to 0.99"
            )
        if not 0 < self.background <= 1:
            raise QpertError(
                "perturbation background is the share of all keys' energy to project out and lies in (0, 1], "
                f"got {self.background}"
            )
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise QpertError(f"perturbation seed must be a whole number from 0 to 4294967295, got {self.seed}")
        object.__setattr__(self, "stages", tuple(stage for stage in get_args(Stage) if stage in self.stages))
        if self.sites is not None:
            given = (self.sites,) if isinstance(self.sites, str | int) else self.sites
            sites = tuple(int(site) if str(site).removeprefix("-").isdigit() else site for site in given)
            object.__setattr__(self, "sites", sites)
            if not sites:
                raise QpertError("perturbation sites: name at least one cross-attention, or leave it out for all")

    @classmethod
    def paper(cls, scale: float = 8.0, threshold: float = 0.9, weight: Weight = "constant") -> Perturbation:
        """The method as the paper describes it; scale, threshold and weight are its grid (Tables C and D).

        No component is kept where the first alone exceeds the threshold: "the ratio does not exceed" it (A.2).
        """
        return cls(scale=scale, threshold=threshold, weight=weight, min_components=0)

    @classmethod
    def one_component(cls, scale: float = 8.0, threshold: float = 0.9, weight: Weight = "constant") -> Perturbation:
        """`paper`, but the first component of every object is kept, even if it alone exceeds the threshold.

        A deviation of the released code's, and for a long time the preset called `paper` here.
        """
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

    @classmethod
    def qpert(cls, scale: float = 4.0, threshold: float = 0.9, weight: Weight = "constant") -> Perturbation:
        """Our own: centred keys and kept norms, so that only the direction of a query changes, towards what is there.

        Of the settings that were searched, the one with the largest share of the object's own that cost no encoder any
        Recall@1 (docs/method.md).
        """
        return cls(scale=scale, threshold=threshold, weight=weight, pca="centred", norm="keep")

    def as_dict(self) -> dict[str, Any]:
        """The fields, for files and fingerprints.

        Fields that came later are left out at their defaults, so that fingerprints from before there was a choice stay
        the same.
        """
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != _LATER[name]}

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


_LATER = {
    "sites": None,
    "artefacts": "keep",
    "pca": "uncentred",
    "background": 0.9,
    "norm": "free",
    "boxes": "own",
    "seed": 0,
}
"""Fields that were added to the first version, with their defaults."""


def _check_choice(name: str, value: object, options: tuple[object, ...]) -> None:
    if value not in options:
        raise QpertError(f"perturbation {name}: {value!r} is not one of {', '.join(map(str, options))}")

"""Which further vectors a photo gets beside its own: the rivals of Q-Perturbation, and what each costs.

No torch is imported here, so that commands can offer and check the options before they load it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

MultiKind = Literal["regions", "crops", "tiles", "clusters", "objects"]
VIEWS: dict[MultiKind, str] = {
    "regions": "region",
    "crops": "crop",
    "tiles": "tile",
    "clusters": "cluster",
    "objects": "object",
}
"""The kind of view that each makes, as the column `views` names it."""
_ORDER: tuple[MultiKind, ...] = get_args(MultiKind)


class MultiConfig(BaseModel):
    """Further vectors of each photo, and how they are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[MultiKind, ...] = Field(
        (),
        description="further vectors of each photo, and their price: regions (a vector per object, 1 tower pass in all:"
        " pooling masked to its tokens), crops (a vector and a tower pass per object: cut out and encoded again), tiles"
        " (a vector and a tower pass per tile), clusters (k vectors, 1 pass in all: k-means of the tokens), objects (a"
        " vector per object, 1 pass in all: ROI-pooled tokens, the paper's OEs) (default: none)",
    )
    max_objects: int = Field(
        32,
        ge=1,
        le=1000,
        description="regions, crops, objects: most per photo; the most confident objects, of equally confident ones the"
        " largest",
    )
    margin: float = Field(
        0.2, ge=0, le=10, description="crops: added on each side, as a share of the box's width and height"
    )
    tiles: tuple[Annotated[int, Field(ge=1, le=16)], ...] = Field(
        (2, 3),
        min_length=1,
        description="tiles per side; 2 adds 4 vectors and tower passes to a photo, 2 3 adds 13",
    )
    overlap: float = Field(0.2, ge=0, le=0.9, description="tiles: share of a tile's side that the next one has as well")
    clusters: int = Field(8, ge=1, le=256, description="clusters: k, vectors per photo at most")
    seed: int = Field(0, ge=0, lt=2**32, description="clusters: of k-means")

    @field_validator("kinds", mode="before")
    @classmethod
    def _list(cls, kinds: Any) -> Any:
        """Accepts a single kind as well."""
        return (kinds,) if isinstance(kinds, str) else kinds

    @field_validator("kinds")
    @classmethod
    def _in_order(cls, kinds: tuple[MultiKind, ...]) -> tuple[MultiKind, ...]:
        """In the order of the views of a photo, each once."""
        return tuple(kind for kind in _ORDER if kind in kinds)

    @field_validator("tiles")
    @classmethod
    def _once(cls, tiles: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(tiles)))

    @property
    def cuts(self) -> int:
        """Tower passes of a photo beside its own, at most."""
        of_objects = self.max_objects if "crops" in self.kinds else 0
        return of_objects + (sum(number**2 for number in self.tiles) if "tiles" in self.kinds else 0)

    @property
    def needs_sites(self) -> tuple[MultiKind, ...]:
        """The kinds that an encoder without cross-attentions cannot make."""
        return tuple(kind for kind in self.kinds if kind in ("regions", "clusters", "objects"))

    @property
    def needs_objects(self) -> tuple[MultiKind, ...]:
        """The kinds that ask for a detector."""
        return tuple(kind for kind in self.kinds if kind in ("regions", "crops", "objects"))

    def expected(self, objects: int) -> int:
        """About how many vectors of V a photo with so many objects gets, beside its own."""
        each = {"tiles": sum(number**2 for number in self.tiles), "clusters": self.clusters}
        return sum(each.get(kind, min(objects, self.max_objects)) for kind in self.kinds)

    def identity(self) -> dict[str, Any]:
        """What changes the vectors: the kinds, and the options of these alone."""
        used = {"kinds"}
        for kind, names in _OPTIONS.items():
            used |= names if kind in self.kinds else set()
        return self.model_dump(mode="json", include=used)


NO_MULTI = MultiConfig()
"""No further vectors."""
_OPTIONS: dict[MultiKind, set[str]] = {
    "regions": {"max_objects"},
    "crops": {"max_objects", "margin"},
    "tiles": {"tiles", "overlap"},
    "clusters": {"clusters", "seed"},
    "objects": {"max_objects"},
}

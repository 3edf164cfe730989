"""What kind of index a feature set gets, and its parameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import QpertError

Kind = Literal["exact", "ivf-sq8", "ivf-pq", "ivf-rabitq", "photo-pq"]
KINDS: tuple[Kind, ...] = ("exact", "ivf-sq8", "ivf-pq", "ivf-rabitq", "photo-pq")
EXACT_BELOW = 100_000
"""Vectors below which all are compared: that takes some ten milliseconds."""
_SQ8_BELOW = 1_000_000
_MANY_VECTORS = 16
"""Vectors per photo from which on a set gets `photo-pq`, measured with 32. Its codes are stored for 32 vectors at a
time, so that photos of fewer waste space."""
_PHOTO_SAMPLE = 1 << 18
_PROBED, _PROBED_AT, _PROBED_POWER = 0.5, 100_000, -0.14
"""Share of the lists that a query looks into in a set of so many vectors, and how it falls with their number: what is
needed for a recall@10 of 0.98 with one vector per photo, in the same simulation as below."""
_SHORTLIST, _SHORTLIST_AT, _SHORTLIST_POWER = 0.05, 100_000, -0.35
"""Share of the photos that the shortlist of a set of so many takes, and how it falls with their number: what is needed
for a recall@10 of 0.98 in the simulation of `qpert benchmark search`."""
_MOST_SHORTLIST = 0.2
_PHOTO_RESCORED = 250
"""Vectors whose photos `photo-pq` compares again: its codes are finer than those in lists, as photos are narrow."""
_PER_LIST = 40
"""Vectors of the sample for each list."""
_MOST_LISTS = 1 << 16
_SUB_DIM = 2
"""Dimensions that share 4 bits of a product quantiser."""


class IndexSettings(BaseModel):
    """The parameters of an index. Those of lists and codes mean nothing for the kind `exact`.

    Attributes:
        kind: `exact` compares all vectors. The others compare short codes first, and the photos that these favour
            exactly: `ivf-*` the codes of the vectors in the inverted lists nearest to a query; `photo-pq` one of each
            photo, and then those of all vectors of the photos on a shortlist.
        lists: inverted lists, each of the vectors nearest to its centroid.
        probes: lists that a query looks into.
        pieces: parts of a vector that a product quantiser codes with 4 bits each.
        shortlist: share of the photos whose vectors `photo-pq` looks at.
        rescored: vectors per query whose photos are compared again exactly; more where too few photos have them.
        keep_vectors: keep the stored vectors beside the codes, to be compared again; else these are read from Parquet.
        seed: of the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "exact"
    lists: int = Field(1, ge=1, le=_MOST_LISTS)
    probes: int = Field(1, ge=1, le=_MOST_LISTS)
    pieces: int = Field(1, ge=1, le=4096)
    shortlist: float = Field(0.05, gt=0, le=1)
    rescored: int = Field(400, ge=1, le=100_000)
    keep_vectors: bool = True
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _check(self) -> IndexSettings:
        if self.kind == "exact" and not self.keep_vectors:
            raise ValueError("the kind exact is nothing but the kept vectors")
        if self.kind == "photo-pq" and (self.lists, self.probes) != (1, 1):
            raise ValueError("the kind photo-pq has no lists to choose; see shortlist")
        return self


def chosen_settings(
    kind: Kind | Literal["auto"], vectors: int, dim: int, photos: int | None = None, **overrides: Any
) -> IndexSettings:
    """Settings by the size of the set.

    Args:
        kind: the kind, or `auto`: `exact` below 100,000 vectors, then `photo-pq` where a photo has 16 vectors or more,
            else `ivf-sq8`, and from a million on `ivf-pq`.
        vectors: in the set.
        dim: D.
        photos: in the set; None: as many as vectors.
        overrides: fields of `IndexSettings`; None for the default.

    Raises:
        QpertError: values that do not fit, such as `pieces` that do not divide `dim`.
    """
    if kind == "auto":
        kind = _kind_for(vectors, vectors if photos is None else photos)
    given = {name: value for name, value in overrides.items() if value is not None}
    values: dict[str, Any] = {"kind": kind}
    if kind != "exact":
        values["pieces"] = next(pieces for pieces in range(max(1, dim // _SUB_DIM), 0, -1) if dim % pieces == 0)
    if kind == "photo-pq":
        values |= {"shortlist": _default_shortlist(vectors if photos is None else photos), "rescored": _PHOTO_RESCORED}
    if kind.startswith("ivf"):
        lists = int(given.get("lists") or _default_lists(vectors))
        values |= {"lists": lists, "probes": _default_probes(vectors, lists)}
    try:
        settings = IndexSettings(**(values | given))
    except ValidationError as error:
        problem = error.errors()[0]
        raise QpertError(
            f"{'.'.join(map(str, problem['loc'])) or 'settings'} of the index: {problem['msg']}"
        ) from error
    if settings.kind in ("ivf-pq", "photo-pq") and dim % settings.pieces:
        raise QpertError(f"{settings.pieces} pieces of a vector do not divide the dimension {dim}")
    if settings.probes > settings.lists:
        raise QpertError(f"{settings.probes} probes of {settings.lists} lists")
    return settings


def _kind_for(vectors: int, photos: int) -> Kind:
    if vectors < EXACT_BELOW:
        return "exact"
    if vectors >= _MANY_VECTORS * photos:
        return "photo-pq"
    return "ivf-sq8" if vectors < _SQ8_BELOW else "ivf-pq"


def _default_probes(vectors: int, lists: int) -> int:
    share = min(1.0, _PROBED * (max(1, vectors) / _PROBED_AT) ** _PROBED_POWER)
    return int(max(min(lists, 16), round(share * lists)))


def _default_shortlist(photos: int) -> float:
    share = _SHORTLIST * (max(1, photos) / _SHORTLIST_AT) ** _SHORTLIST_POWER
    return float(f"{min(_MOST_SHORTLIST, share):.2g}")


def _default_lists(vectors: int) -> int:
    """Some two to four times the square root of the number of vectors, a power of two."""
    return int(min(_MOST_LISTS, max(16, 1 << (int(2 * max(1, vectors) ** 0.5).bit_length()))))


def sample_size(settings: IndexSettings) -> int:
    """Vectors wanted for training."""
    if settings.kind == "photo-pq":
        return _PHOTO_SAMPLE
    return 0 if settings.kind == "exact" else max(4096, _PER_LIST * settings.lists)


def code_bytes(settings: IndexSettings, dim: int) -> int:
    """Bytes that the code of a vector takes, its number included."""
    packed = (settings.pieces + 1) // 2
    codes = {"exact": 0, "ivf-sq8": dim, "ivf-rabitq": (dim + 7) // 8 + 8}.get(settings.kind, packed)
    return codes + 8 if codes else 0

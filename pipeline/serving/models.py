"""What requests and answers of the HTTP API hold. Nothing unknown is taken, and every length has a limit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_TEXT = 2_000
"""Letters of a text; encoders read far fewer."""
MAX_TERMS = 16
MAX_K = 500
MAX_DEPTH = 10_000
"""How far a cursor leads."""
MAX_IMAGE_TEXT = 28_000_000
"""Letters of an image as base64: 21 MB. The limit on a request's body applies as well."""
MAX_ID = 4_096
MAX_LABELS = 32


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 24.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
SetName = Annotated[str, Field(min_length=1, max_length=200, description="name of a set, see GET /sets")]
ImageId = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Box = Annotated[
    tuple[Fraction, Fraction, Fraction, Fraction],
    Field(description="x0, y0, x1, y1 in fractions of the photo's width and height"),
]
Weight = Annotated[
    float, Field(ge=-100, le=100, allow_inf_nan=False, description="below 0: photos that are less like this")
]
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Pattern = Annotated[str, Field(min_length=1, max_length=500)]
Moment = Annotated[
    str,
    Field(max_length=30, pattern=r"^\d{4}(-\d\d){0,2}([T ][0-9:.]+)?$", description="2020, 2020-05, 2020-05-17T18:00"),
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
Base64 = Annotated[str, Field(min_length=4, max_length=MAX_IMAGE_TEXT, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Sent(BaseModel):
    """Base of what clients send."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Answer(BaseModel):
    """Base of what clients get."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextTerm(Sent):
    """A text to look for."""

    text: Text
    weight: Weight = 1.0


class ImageTerm(Sent):
    """A photo to look for."""

    image: Base64 = Field(description="an encoded photo (JPEG, PNG, WebP, ...) as base64")
    box: Box | None = Field(None, description="only this part of it")
    weight: Weight = 1.0


class LikeTerm(Sent):
    """A photo of a set to look for."""

    image_id: ImageId
    set: SetName | None = Field(None, description="the set that it is in; by default the one that is searched")
    box: Box | None = Field(None, description="only this part of it")
    weight: Weight = 1.0


Term = TextTerm | ImageTerm | LikeTerm


class FilterFields(Sent):
    """Which photos may be found."""

    has: list[Label] = Field([], max_length=MAX_LABELS, description="labels of objects that a photo must have")
    without: list[Label] = Field([], max_length=MAX_LABELS, description="labels of objects that it must not have")
    smaller: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="an object (of those in `has`, if any) covers less than this"
    )
    larger: float | None = Field(
        None, ge=0, lt=1, allow_inf_nan=False, description="an object (of those in `has`, if any) covers this or more"
    )
    path: list[Pattern] = Field([], max_length=MAX_LABELS, description="patterns, such as 2024/**; one must match")
    min_width: Whole | None = Field(None, ge=1, le=10**6, description="pixels")
    min_height: Whole | None = Field(None, ge=1, le=10**6, description="pixels")
    taken_from: Moment | None = Field(None, description="the photo was taken then or later")
    taken_to: Moment | None = Field(None, description="the photo was taken then or earlier")


class SearchRequest(Sent):
    """A search. The query is `text`, `terms` or both; an uploaded image counts as a further term."""

    text: Text | None = Field(None, description="what to look for")
    terms: list[Term] = Field([], max_length=MAX_TERMS, description="parts of a query, added up by weight")
    k: Whole = Field(24, ge=1, le=MAX_K, description="photos per answer")
    cursor: str | None = Field(
        None,
        max_length=40,
        pattern=r"^[0-9]{1,4}\.[0-9a-f]{16}\.[0-9a-f]{12}$",
        description="from the last answer, for the photos that follow",
    )
    filters: FilterFields | None = None
    min_score: float | None = Field(None, ge=-100, le=100, allow_inf_nan=False, description="leave out lower scores")
    fold: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="near-duplicates (cosine from here on) hang on their best"
    )
    exact: bool = Field(False, description="compare with every photo, whatever the index")
    set: SetName | None = Field(None, description="where to search; by default the first set")
    compare: SetName | None = Field(None, description="a further set, whose ranks of the same photos are given")


class Rectangle(Answer):
    """What matched, of a photo with several views."""

    kind: str
    box: tuple[float, float, float, float]


class FoundObject(Answer):
    """An object in a photo."""

    label: str | None
    score: float
    box: tuple[float, float, float, float]


class Result(Answer):
    """A photo that was found."""

    rank: int
    score: float
    image_id: str
    uri: str | None
    set: str
    view: Rectangle | None = None
    width: int | None = None
    height: int | None = None
    taken: datetime | None = None
    objects: list[FoundObject] = []
    folded: list[str] = []
    thumbnail: str
    photo: str
    compared_rank: int | None = None
    moved: int | None = Field(None, description="ranks that it stands higher here than in the compared set")


class SearchAnswer(Answer):
    """The photos found, best first."""

    set: str
    index: str
    results: list[Result]
    cursor: str | None
    took_ms: float
    notes: list[str]


class SetInfo(Answer):
    """A set that is served."""

    name: str
    photos: int
    encoder: str
    weights: str | None
    vectors: int
    dim: int
    index: str
    perturbation: str | None
    labels: list[str]
    miniature: bool
    warning: str | None
    problem: str | None = Field(None, description="why it cannot be searched now")


class SetsAnswer(Answer):
    """The sets that are served."""

    sets: list[SetInfo]


class Health(Answer):
    """Whether all is well."""

    status: Literal["ok", "degraded"]
    sets: dict[str, str]


class ErrorDetail(Answer):
    """What is wrong."""

    code: str
    message: str


class ErrorBody(Answer):
    """An error."""

    error: ErrorDetail

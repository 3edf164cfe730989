"""The API of clip-back, the server of clip-retrieval, so that clip-front and its other clients can search here.

The shape of requests and answers is that of clip-retrieval (`clip_back.py`, and what `clip-service.js` sends). An
`image_url` is refused, unless it is an address of this server, whose photo is then looked up: a server that fetches
whatever address it is given can be made to read what only it can reach. There are no safety or violence models here,
and answers are not filtered by any.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from pipeline.errors import QpertError
from pipeline.queries.hits import Hits
from pipeline.queries.query import Query, Term
from pipeline.retrieval.similarity import unit
from pipeline.serving.errors import RequestError
from pipeline.serving.models import (
    MAX_IMAGE_TEXT,
    MAX_TEXT,
    ImageTerm,
    LikeTerm,
    SearchRequest,
    Sent,
    SetName,
    TextTerm,
    Whole,
)
from pipeline.serving.photo_numbers import numbers_of, photos_of
from pipeline.serving.reading import parsed
from pipeline.serving.routes import Served, problems
from pipeline.serving.searching import addresses
from pipeline.serving.served_set import OpenedSet
from pipeline.serving.service import Service
from pipeline.vectors.query_vectors import QueryVectors

MAX_RESULTS, MAX_SHOWN = 10_000, 1_000
_SAME = 0.94
"""Cosine from which on clip-back takes photos for duplicates."""
_OWN = re.compile(r"(?:https?://[^/?#]*)?/(?:photos|thumbnails)/([^/?#]+)/([^?#]+)(?:\?([^#]*))?")
_SIDE = 640
Finite = Annotated[float, Field(allow_inf_nan=False)]


class KnnRequest(Sent):
    """What clip-back's clients ask. `use_safety_model` and `use_violence_detector` change nothing here."""

    text: str | None = Field(None, max_length=MAX_TEXT)
    image: str | None = Field(None, max_length=MAX_IMAGE_TEXT, description="base64")
    image_url: str | None = Field(None, max_length=8_000, description="of a photo of this server; others are refused")
    embedding_input: list[Finite] | None = Field(None, min_length=1, max_length=2**14)
    modality: Literal["image"] = Field(description="there are no indices of texts here")
    num_images: Whole = Field(ge=0, le=MAX_RESULTS, description="photos with metadata; at most 1,000 get them")
    indice_name: SetName | None
    num_result_ids: Whole | None = Field(None, ge=1, le=MAX_RESULTS, description="photos in all")
    use_mclip: Literal[False] = Field(False, description="there is no multilingual model here")
    deduplicate: bool = False
    use_safety_model: bool = False
    use_violence_detector: bool = False
    aesthetic_score: Literal[""] | None = ""
    aesthetic_weight: Annotated[str, Field(max_length=20)] | Finite | None = ""


class MetadataRequest(Sent):
    """Which photos clip-back's clients want to know of."""

    ids: list[Annotated[Whole, Field(ge=0, lt=2**53)]] = Field(max_length=MAX_SHOWN)
    indice_name: SetName


router = APIRouter()


def _json_body(model: str) -> dict[str, Any]:
    # clip-front sends JSON as text/plain, as clip-back reads it whatever it is called.
    schema = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return {"requestBody": {"required": True, "content": {"application/json": schema}}}


@router.get("/indices-list", responses=problems())
def indices_list(service: Served) -> list[str]:
    """The names of the sets, as clip-back lists its indices."""
    return [served.name for served in service.catalogue.all()]


@router.post(
    "/knn-service",
    response_model=list[dict[str, Any]],
    responses=problems(400, 404, 408, 413, 422),
    openapi_extra=_json_body("KnnRequest"),
)
async def knn_service(request: Request, service: Served) -> Response:
    """The photos that fit best, as clip-back answers: `id` and `similarity`, and metadata of the first `num_images`."""
    asked = parsed(KnnRequest, await request.body())
    photo = not asked.text and asked.embedding_input is None
    answer = await service.search(lambda: _answer(service, asked), image=photo)
    return JSONResponse(answer, headers={"cache-control": "no-store"})


@router.post("/metadata", responses=problems(400, 404, 408, 409, 413, 422), openapi_extra=_json_body("MetadataRequest"))
async def metadata(request: Request, service: Served) -> list[dict[str, Any]]:
    """The metadata of photos by the ids that `/knn-service` gave, in clip-back's shape."""
    asked = parsed(MetadataRequest, await request.body())

    def found() -> list[dict[str, Any]]:
        opened = service.catalogue.get(asked.indice_name).current()
        photos = photos_of(opened, asked.ids)
        return [
            {"id": number, "metadata": _metadata(opened, image_id, part)}
            for number, (image_id, part, _) in zip(asked.ids, photos, strict=True)
        ]

    return await service.search(found)


def _answer(service: Service, asked: KnnRequest) -> list[dict[str, Any]]:
    served = service.catalogue.get(asked.indice_name)
    opened = served.current()
    hits = _hits(service, asked, opened)
    shown = min(asked.num_images, MAX_SHOWN)
    results = []
    for rank, (hit, number) in enumerate(zip(hits, numbers_of(opened, hits.hits), strict=True)):
        known = _metadata(opened, hit.image_id, hit.set) if rank < shown else {}
        results.append({**known, "id": number, "similarity": hit.score})
    return results


def _metadata(opened: OpenedSet, image_id: str, part: str) -> dict[str, str]:
    _, thumbnail = addresses(opened.name, image_id, part)
    return {"image_path": image_id, "url": f"{thumbnail}{'&' if part else '?'}size={_SIDE}"}


def _hits(service: Service, asked: KnnRequest, opened: OpenedSet) -> Hits:
    k = asked.num_result_ids or max(1, asked.num_images)
    fold = _SAME if asked.deduplicate else None
    if asked.text or asked.embedding_input is None:
        request = _request(asked, opened)
        return service.searcher.hits(request, opened, k=k, fold=fold)
    try:
        vector = unit(np.array([asked.embedding_input], np.float32), "embedding_input")
        query = Query((Term(text="an embedding"),), k=k, fold=fold)
        return opened.collection.find([query], [QueryVectors.single(vector[0])], details=False)[0]
    except QpertError as error:
        raise RequestError(422, str(error)) from None


def _request(asked: KnnRequest, opened: OpenedSet) -> SearchRequest:
    """The same search in this server's own terms; of text, image and address the first that is given counts."""
    if asked.text:
        if not asked.text.strip():
            raise RequestError(422, "the text is empty")
        return SearchRequest(terms=[TextTerm(text=asked.text)])
    if asked.image is not None:
        return SearchRequest(terms=[ImageTerm.model_construct(image=_plain_base64(asked.image), box=None, weight=1.0)])
    if asked.image_url is not None:
        return SearchRequest(terms=[_own_photo(asked.image_url)])
    raise RequestError(422, "nothing to look for: fill in text, image or embedding_input")


def _plain_base64(text: str) -> str:
    """Base64 without the line breaks and the missing end that lenient readers allow."""
    plain = re.sub(r"\s+", "", text)
    plain += "=" * (-len(plain) % 4)
    try:
        base64.b64decode(plain, validate=True)
    except ValueError:
        raise RequestError(422, "image is not valid base64") from None
    return plain


def _own_photo(address: str) -> LikeTerm:
    match = _OWN.fullmatch(address)
    if match is None:
        raise RequestError(
            422, "image_url is refused: this server fetches no addresses; send the photo itself as image, in base64"
        )
    if "part" in parse_qs(match[3] or ""):
        raise RequestError(422, "image_url: photos of a set of several folders are not looked up; send image")
    name, image_id = unquote(match[1]), unquote(match[2])
    return SearchRequest.model_validate({"terms": [{"image_id": image_id, "set": name}]}).terms[0]  # type: ignore[return-value]

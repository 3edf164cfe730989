"""The routes of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.convertors import Convertor, register_url_convertor

from pipeline.printing import printable
from pipeline.serving.errors import RequestError
from pipeline.serving.models import MAX_ID, ErrorBody, Health, SearchAnswer, SetInfo, SetsAnswer
from pipeline.serving.observing import logger as access_logger
from pipeline.serving.photo_files import Picture
from pipeline.serving.pictures import MAX_SHOWN
from pipeline.serving.reading import read_search
from pipeline.serving.service import Service


class _IdConvertor(Convertor[str]):
    """An id in an address: like Starlette's `path`, which ends at line breaks, and names of files may hold these."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("id", _IdConvertor())

_KEPT = "private, max-age=600"
"""Browsers ask again after ten minutes, and learn by the ETag that nothing has changed."""
_NOT_KEPT = "no-store"


def service_of(request: Request) -> Service:
    """The service behind the app."""
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(service_of)]
Part = Annotated[str, Query(max_length=200, description="the folder that has the photo, of a set of several")]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its documentation."""
    return {status: {"model": ErrorBody} for status in (*statuses, 401, 403, 429, 503)}


router = APIRouter()


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=problems(400, 404, 408, 409, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}},
                "multipart/form-data": {"schema": {"$ref": "#/components/schemas/SearchForm"}},
            },
        }
    },
)
async def search(request: Request, service: Served) -> Response:
    """The photos that fit a query best: a text, photos, or a sum of both.

    Either JSON, or a form with a photo as the file `image` and the JSON as the field `query`.
    """
    query, upload = await read_search(request)
    if service.settings.log_queries:
        texts = [query.text or "", *(getattr(term, "text", "") for term in query.terms)]
        access_logger.info(f"query: {printable(' + '.join(filter(None, texts)))}")
    for name in (query.set, query.compare):
        service.catalogue.get(name)  # before it waits for its turn
    image = service.reader.may_embed_photos(query, upload)
    answer = await service.search(lambda: service.searcher.answer(query, upload), image=image)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"cache-control": _NOT_KEPT})


@router.get("/sets", responses=problems())
def sets(service: Served) -> SetsAnswer:
    """The sets that are served."""
    infos: list[SetInfo] = []
    for served in service.catalogue.all():
        info = served.info()
        if info is not None:
            infos.append(info.model_copy(update={"problem": served.problem}))
    return SetsAnswer(sets=infos)


@router.head("/photos/{set}/{image_id:id}", include_in_schema=False)
@router.get(
    "/photos/{set}/{image_id:id}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not modified"}, **problems(404, 422)},
)
async def photo(request: Request, set: str, image_id: str, service: Served, part: Part = "") -> Response:
    """A photo, as a new JPEG of at most 4096 pixels a side: upright, and without metadata."""
    return await _picture(request, service, set, image_id, part, MAX_SHOWN)


@router.head("/thumbnails/{set}/{image_id:id}", include_in_schema=False)
@router.get(
    "/thumbnails/{set}/{image_id:id}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not modified"}, **problems(404, 422)},
)
async def thumbnail(
    request: Request,
    set: str,
    image_id: str,
    service: Served,
    size: Annotated[Literal["160", "320", "640", "1280"], Query(description="longest side in pixels")] = "320",
    part: Part = "",
) -> Response:
    """A small version of a photo."""
    return await _picture(request, service, set, image_id, part, int(size))


async def _picture(request: Request, service: Service, name: str, image_id: str, part: str, side: int) -> Response:
    if not 1 <= len(image_id) <= MAX_ID:
        raise RequestError(404, "there is no such photo")

    def made() -> Picture:
        opened = service.catalogue.get(name).current()
        return service.photos.picture(opened.uri_of(image_id, part), side, opened.version)

    picture = await service.picture(made)
    headers = {"etag": picture.etag, "cache-control": _KEPT, "content-disposition": "inline"}
    known = [mark.strip().removeprefix("W/") for mark in request.headers.get("if-none-match", "").split(",")]
    if picture.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type="image/jpeg", headers=headers)


@router.get("/healthz")
def healthz(service: Served, response: Response) -> Health:
    """Whether all sets can be searched; `degraded` where some cannot. The server itself is alive if it answers.

    Which sets there are is said only where no token is demanded, since this route asks for none.
    """
    states = {served.name: served.problem or "ok" for served in service.catalogue.all()}
    status: Literal["ok", "degraded"] = "ok" if all(state == "ok" for state in states.values()) else "degraded"
    response.headers["cache-control"] = _NOT_KEPT
    return Health(status=status, sets=states if service.settings.token is None else {})


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: Served) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

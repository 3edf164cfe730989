"""Reads what a request to search holds: JSON, or a form with a photo."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from pipeline.serving.errors import RequestError, problems_text
from pipeline.serving.models import SearchRequest

Model = TypeVar("Model", bound=BaseModel)
_MAX_QUERY = 2**20
"""Letters of the field `query` of a form; images belong in the field `image`."""
_MAX_VALUES = 20_000
"""Values in the JSON of a request. Pydantic has an error for each that does not fit: millions would take minutes."""


def parsed(model: type[Model], text: bytes | str) -> Model:
    """JSON as a model. Deep nesting, NaN, lone surrogates, unknown keys and masses of values are refused.

    Raises:
        RequestError: 422.
    """
    commas = text.count(",") if isinstance(text, str) else text.count(b",")
    if commas >= _MAX_VALUES:
        raise RequestError(422, f"the JSON holds more than {_MAX_VALUES:,} values")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise RequestError(422, problems_text(error.errors(include_input=False, include_url=False))) from None


async def read_search(request: Request) -> tuple[SearchRequest, bytes | None]:
    """The query of a request, and the photo that came with it.

    Raises:
        RequestError: 415 for other types of content, 422 for what cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return parsed(SearchRequest, await request.body()), None
    if kind != "multipart/form-data":
        raise RequestError(415, "send application/json, or multipart/form-data with the fields image and query")
    try:
        form = await request.form(max_files=1, max_fields=1, max_part_size=_MAX_QUERY)
    except HTTPException as error:
        raise RequestError(422, f"the form cannot be read: {error.detail}") from None
    try:
        return await _read_form(form)
    finally:
        await form.close()


async def _read_form(form: FormData) -> tuple[SearchRequest, bytes | None]:
    fields: dict[str, Any] = dict(form.multi_items())
    unknown = [name for name in fields if name not in ("image", "query")]
    if unknown or len(fields) != len(form.multi_items()):
        raise RequestError(422, "a form has at most one field image and one field query")
    query, image = fields.get("query", "{}"), fields.get("image")
    if isinstance(query, UploadFile):
        raise RequestError(422, "the field query is JSON, not a file")
    if image is not None and not isinstance(image, UploadFile):
        raise RequestError(422, "the field image is a file")
    return parsed(SearchRequest, query), None if image is None else await image.read()

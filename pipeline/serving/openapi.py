"""The OpenAPI document, with the models that routes read by themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from pipeline.serving.access import OPEN
from pipeline.serving.clip_back import KnnRequest, MetadataRequest
from pipeline.serving.models import SearchRequest

_REF = "#/components/schemas/{model}"
_FORM = {
    "type": "object",
    "title": "SearchForm",
    "description": "A search by a photo, as a form.",
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "a photo, as a file"},
        "query": {"$ref": "#/components/schemas/SearchRequest"},
    },
}


def complete_openapi(app: FastAPI, *, token: bool) -> None:
    """Adds to the document of an app what FastAPI cannot know.

    Args:
        app: with all its routes.
        token: requests must bear one.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made(), token)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _complete(document: dict[str, Any], token: bool) -> None:
    schemas = document["components"]["schemas"]
    for model in (SearchRequest, KnnRequest, MetadataRequest):
        schema = model.model_json_schema(ref_template=_REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    schemas["SearchForm"] = _FORM
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in document["paths"].items():
            for operation in methods.values():
                operation["security"] = [] if path in OPEN else [{"token": []}]

"""The documentation of the API at /docs: made of its OpenAPI document, without scripts and without other servers."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

_POLICY = "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The routes, their parameters, and the models of requests and answers."""
    document = request.app.openapi()
    html = _template().render(document=document, models=document["components"]["schemas"], as_json=_as_json)
    return HTMLResponse(html, headers={"content-security-policy": _POLICY.format(digest=_style_digest())})


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("docs_page.html.j2").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _style_digest() -> str:
    """Of the template's style, so that this style is allowed and no other."""
    text = Path(__file__).with_name("docs_page.html.j2").read_text(encoding="utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

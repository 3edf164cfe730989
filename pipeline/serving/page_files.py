"""The page: static files of this package, which may load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from pipeline.serving.errors import RequestError

FOLDER = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_HEADERS = {"content-security-policy": POLICY, "cache-control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> Response:
    """The page itself."""
    return page_file("index.html")


@router.get("/page/{name:path}")
def page_file(name: str) -> Response:
    """One of its files: of those that are there, by its exact name."""
    known = {str(path.relative_to(FOLDER).as_posix()): path for path in FOLDER.rglob("*") if path.suffix in _TYPES}
    if name not in known:
        raise RequestError(404, "there is no such file")
    return FileResponse(known[name], media_type=_TYPES[known[name].suffix], headers=_HEADERS)

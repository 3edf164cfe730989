"""Errors of the HTTP API, all of one shape: `{"error": {"code", "message"}}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pipeline.errors import QpertError
from pipeline.printing import printable
from pipeline.serving.models import ErrorBody, ErrorDetail

CODES = {
    400: "bad_request",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "set_changed",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
_SHOWN_PROBLEMS = 5
_SHOWN_LETTERS = 300


class RequestError(QpertError):
    """A request that is refused.

    Args:
        status: HTTP status, one of `CODES`.
        message: what is wrong and what to do.
        retry_after: seconds after which to try again.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


def error_content(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    detail = ErrorDetail(code=CODES.get(status, "error"), message=printable(message))
    return ErrorBody(error=detail).model_dump()


def error_response(status: int, message: str, *, retry_after: int | None = None) -> JSONResponse:
    """An error as a response, which no cache keeps."""
    headers = {"cache-control": "no-store"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_content(status, message), status, headers)


def problems_text(problems: Sequence[Any]) -> str:
    """Pydantic's errors on one line. What was sent is not repeated: it may be long, and may be meant for a log."""
    texts = []
    for problem in problems[:_SHOWN_PROBLEMS]:
        place = ".".join(str(part) for part in problem["loc"])[:_SHOWN_LETTERS]
        texts.append(f"{place}: {problem['msg']}" if place else str(problem["msg"]))
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(texts) + (f"; and {more:,} more" if more > 0 else "")


def add_error_handlers(app: FastAPI) -> None:
    """Gives all errors of `app` their shape."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestError)
        return error_response(error.status, str(error), retry_after=error.retry_after)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(422, problems_text(error.errors()))

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        response = error_response(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    async def wrong_input(_: Request, error: Exception) -> JSONResponse:
        return error_response(422, str(error))

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(QpertError, wrong_input)

"""Errors as one-line JSON, with the status code that tells a program what to do."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Scope

from pipelines.errors import (
    CollectionNotFound,
    ColumnsAwaited,
    InputError,
    ModelMismatch,
    SearchError,
    UnknownImage,
    UnreadableQuery,
)

log = logging.getLogger(__name__)


class Busy(SearchError):
    """Too many searches are waiting."""


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    """Return the response for an error, with its message on one line."""
    line = " ".join(message.split())
    return JSONResponse({"error": line}, status, {"Cache-Control": "no-store", **headers})


def refuse(scope: Scope, status: int, message: str, headers: dict[str, str] | None = None) -> ASGIApp:
    """Return the response to a request that is refused before any route: JSON below /api/, plain text elsewhere."""
    if scope["path"].startswith("/api/"):
        return refusal(status, message, **(headers or {}))
    return PlainTextResponse(message, status, {"Cache-Control": "no-store", **(headers or {})})


def answer_to(error: SearchError) -> JSONResponse:
    """Return 404 or 415 for an image that cannot be used, 400 for another mistake in the query, 503 for the rest.

    Messages of the database and the model are only logged, because they contain paths and addresses of the server.
    """
    if isinstance(error, UnknownImage):
        return refusal(404, str(error))
    if isinstance(error, UnreadableQuery):
        return refusal(415, str(error))
    if isinstance(error, InputError) and not isinstance(error, ModelMismatch):
        return refusal(400, str(error))
    log.warning("a search could not be answered: %s", error)
    is_told = isinstance(error, (Busy, ColumnsAwaited, ModelMismatch))
    reason = str(error) if is_told else "the database or the model does not answer"
    if isinstance(error, CollectionNotFound):
        reason = "there is no collection, or it is empty: fill it with image-search insert"
    return refusal(503, reason, **{"Retry-After": "5"})


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the application's own routes with JSON. Gradio's routes are a separate application."""

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] in ("json_invalid", "string_unicode"):
            return refusal(400, f"the body is not valid JSON: {first['msg']}")
        place = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
        return refusal(422, f"{place}: {first['msg']}" if place else str(first["msg"]))

    @app.exception_handler(SearchError)
    def failed(request: Request, error: SearchError) -> JSONResponse:
        return answer_to(error)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail), **dict(error.headers or {}))

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> JSONResponse:
        reference = secrets.token_hex(3)
        log.error("request failed (reference %s)", reference, exc_info=error)
        return refusal(500, f"something went wrong; the log says more under reference {reference}")

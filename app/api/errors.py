"""Errors as JSON, one line each, with the status that tells a program what to do."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Scope

from pipelines.errors import InputError, ModelMismatch, SearchError, UnknownImage, UnreadableQuery

log = logging.getLogger(__name__)


class Busy(SearchError):
    """Too many searches wait already."""


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    """An error's answer."""
    line = " ".join(message.split())
    return JSONResponse({"error": line}, status, {"Cache-Control": "no-store", **headers})


def refuse(scope: Scope, status: int, message: str, headers: dict[str, str] | None = None) -> ASGIApp:
    """A refusal before any route: JSON for programs, text for people."""
    if scope["path"].startswith("/api/"):
        return refusal(status, message, **(headers or {}))
    return PlainTextResponse(message, status, {"Cache-Control": "no-store", **(headers or {})})


def answer_to(error: SearchError) -> JSONResponse:
    """400 where the question is at fault, 404 and 415 where an image is, 503 where the database or the model is."""
    if isinstance(error, UnknownImage):
        return refusal(404, str(error))
    if isinstance(error, UnreadableQuery):
        return refusal(415, str(error))
    if isinstance(error, InputError) and not isinstance(error, ModelMismatch):
        return refusal(400, str(error))
    log.warning("a search could not be answered: %s", error)
    reason = str(error) if isinstance(error, (Busy, ModelMismatch)) else "the database or the model does not answer"
    return refusal(503, reason, **{"Retry-After": "5"})


def explain(error: ValidationError | RequestValidationError) -> str:
    """What is wrong with the first field that is: `k: Input should be …`."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of the API's own routes JSON. Gradio's routes are an application of their own."""

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(422, explain(error))

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

"""The OpenAPI document: FastAPI's own, and what it cannot know of a route that takes JSON and forms."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from .models import SearchRequest

_REFERENCE = "#/components/schemas/{model}"


def add_document(app: FastAPI, with_password: bool) -> None:
    """Makes `/api/openapi.json` whole. Built once, on first use."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            _, requests = models_json_schema([(SearchRequest, "validation")], ref_template=_REFERENCE)
            made["components"]["schemas"].update(requests["$defs"])
            if with_password:
                made["components"]["securitySchemes"] = {"password": {"type": "http", "scheme": "basic"}}
                made["security"] = [{"password": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]

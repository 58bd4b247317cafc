"""schemathesis against the OpenAPI document: requests that fit it, or nearly do, get the answers that it describes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from app.application import build_app
from app.library import Library
from pipelines import Settings
from pipelines.milvus.connection import close
from tests.support.page import make_collection

# `make fuzz` sets a larger number.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import schemathesis

    uri = make_collection(tmp_path_factory.getbasetemp()).copy_to(tmp_path_factory.mktemp("db"))
    app = build_app(Library(Settings(uri=uri, rate_limit=0)))
    loaded = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={"Host": "localhost"})
    yield loaded
    close(uri)


ROUTES = [
    ("GET", "/api/search"), ("POST", "/api/search"), ("POST", "/api/search/form"),
    ("GET", "/api/similar/{id}"), ("GET", "/thumb/{id}"), ("GET", "/preview/{id}"),
    ("GET", "/image/{id}"), ("GET", "/api/info"), ("GET", "/api/facets"), ("GET", "/readyz"), ("GET", "/healthz"),
    ("GET", "/metrics"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_request_breaks_the_server(document: Any, method: str, path: str) -> None:
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    # The other paths take nothing that could be wrong.
    modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if path.startswith(("/api/s", "/api/f")) else [])]
    for mode in modes:

        @given(case=document[path][method].as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        def check(case: Any) -> None:
            case.call_and_validate(headers={"Host": "localhost"}, checks=checks, timeout=60)

        check()


@pytest.mark.long
def test_every_route_is_tried(document: Any) -> None:
    assert {(operation.ok().method.upper(), operation.ok().path) for operation in document.get_all_operations()} == set(
        ROUTES
    )

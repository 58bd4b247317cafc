"""The routes of the API. They turn a request into a `Query` for `pipelines.Searcher`, and its `Results` into JSON."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, HTTPException, Path, Request, Response
from fastapi import Query as Parameters
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import Gauge
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from pipelines.errors import InputError, UnreadableImage, UnreadableQuery
from pipelines.models.registry import get_model
from pipelines.query import Part, Query
from pipelines.search.results import Results, to_csv
from pipelines.search.searcher import Searcher

from ..media import convert_sent
from ..proxies import client_of
from . import facet_schemas, schemas
from .monitoring import Metrics
from .readiness import Readiness
from .refusals import Busy, refusal
from .schema_types import ImageId

T = TypeVar("T")
Answer = Callable[..., Awaitable[Any]]  # answers a query with JSON or CSV

RUNNING = 64  # searches in threads; most of them wait for the same batch of the model or of Milvus
WAITING = 256
IMAGES = 2  # searches with an image that run at a time; a decoded image can take 384 MB
MAX_FILES = 16

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorResponse, "description": description}
    for status, description in {
        400: "The query cannot be answered: it is empty, or its filter is wrong.",
        401: "A user and a password are needed.",
        403: "The request comes from another site.",
        404: "No such image.",
        422: "A value is of the wrong type or out of range.",
        429: "Too many requests; `Retry-After` says when to come back.",
        503: "The database or the model does not answer, or too many searches wait.",
    }.items()
}
_BODY_ERRORS: dict[int | str, dict[str, Any]] = {
    413: {"model": schemas.ErrorResponse, "description": "The body is too large."},
    415: {"model": schemas.ErrorResponse, "description": "Neither JSON nor a form, or the image cannot be read."},
}
_SEARCH: dict[str, Any] = {"response_model": schemas.SearchResponse, "tags": ["search"]}
_HITS = {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One page of hits."}


class Slots:
    """Runs searches in threads, RUNNING at a time. Up to WAITING more wait, and further ones are refused."""

    def __init__(self, gauge: Gauge, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._all, self._heavy = CapacityLimiter(running), CapacityLimiter(IMAGES)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._most = waiting
        limiters = (self._all, self._heavy)
        gauge.labels("waiting").set_function(lambda: sum(limiter.statistics().tasks_waiting for limiter in limiters))
        gauge.labels("running").set_function(lambda: sum(limiter.borrowed_tokens for limiter in limiters))

    async def run(self, function: Callable[[], T], image_of: str = "") -> T:
        """Return the result of the function.

        Args:
            image_of: the client, if it searches with an image. Each client runs one such search at a time.

        Raises:
            Busy: too many searches are waiting.
        """
        limiter = self._heavy if image_of else self._all
        if limiter.statistics().tasks_waiting >= self._most:
            raise Busy("too many searches wait already; try again in a few seconds")
        turn = self._turns.setdefault(image_of, asyncio.Lock()) if image_of else contextlib.nullcontext()
        async with turn:
            return await run_sync(function, limiter=limiter)


def search(searcher: Searcher, query: Query) -> Results:
    """Answer a query. Its images come from untrusted clients, so they are decoded in a separate process.

    Raises:
        SearchError: an image cannot be used, or the searcher raised it.
    """
    if all(part.image is None for part in query.parts):
        return searcher.search(query)
    settings = searcher.settings
    size, exact = get_model(settings.model).fit, settings.exact_preprocess

    def decoded(image: bytes) -> bytes:
        try:
            return convert_sent(image, "PNG", size=size, exact=exact).data
        except UnreadableImage as error:
            raise UnreadableQuery(f"the image cannot be searched for: {error}") from error

    parts = tuple(part if part.image is None else replace(part, image=decoded(part.image)) for part in query.parts)
    return searcher.search(replace(query, parts=parts))


class MediaTypeRoute(APIRoute):
    """A route that accepts only bodies of its own media type, so that several routes can share one path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as usual, but only if the request has the media type of this route's body."""
        match, child_scope = super().matches(scope)
        sent = Headers(scope=scope).get("content-type", "").split(";")[0].strip().lower()
        taken = getattr(self.body_field.field_info, "media_type", sent) if self.body_field else sent
        return (match, child_scope) if sent == taken else (Match.NONE, {})


def api_routes(open_searcher: Callable[[], Searcher], metrics: Metrics, readiness: Readiness) -> APIRouter:
    """Return all routes. They must precede the page, which takes every other path.

    Args:
        open_searcher: returns the searcher of the collection, or raises SearchError.
    """
    router = APIRouter(route_class=MediaTypeRoute)
    slots = Slots(metrics.queue)

    async def answer(query: Query, format: str = "json", line: str = "", client: str = "unknown") -> Any:
        with_image = any(part.image is not None for part in query.parts)
        results = await slots.run(lambda: search(open_searcher(), query), client if with_image else "")
        if format == "json":
            found = schemas.SearchResponse.of(results, open_searcher().offer_dates(line, query.language))
            return Response(found.model_dump_json(), media_type="application/json")  # FastAPI would validate it again
        text = to_csv(results.hits, open_searcher().field_names, query.fold is not None)
        disposition = {"Content-Disposition": 'attachment; filename="results.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=disposition)

    _add_searches_by_get(router, answer)
    _add_searches_by_post(router, answer)
    _add_facets(router, open_searcher, slots)
    _add_probes(router, open_searcher, readiness)

    @router.get("/metrics", response_class=PlainTextResponse, tags=["probes"], responses=_only(401))
    def measurements() -> Any:
        """Prometheus's text format."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _add_searches_by_get(router: APIRouter, answer: Answer) -> None:
    documented: dict[str, Any] = {**_SEARCH, "responses": {200: _HITS, **_ERRORS}}
    similar_summary = "Images similar to one of the collection, found by its stored embedding without a model call"

    @router.get("/api/search", summary="Search by words, or list the images that match a filter", **documented)
    async def search(options: Annotated[schemas.TextSearch, Parameters()]) -> Any:
        return await answer(options.to_query(options.q), options.format, options.q)

    @router.get("/api/similar/{id}", summary=similar_summary, **documented)
    async def similar(
        id: Annotated[ImageId, Path(examples=["42"])], options: Annotated[schemas.DownloadOptions, Parameters()]
    ) -> Any:
        return await answer(options.to_query("", Part(id=id)), options.format)


def _add_searches_by_post(router: APIRouter, answer: Answer) -> None:
    """Add a route for JSON, one for forms, and one that refuses everything else.

    The path for JSON accepts forms, too. The OpenAPI document lists forms under a path of their own, because client
    generators fail on an operation with two kinds of body, or leave one out.
    """
    documented: dict[str, Any] = {**_SEARCH, "responses": {**_ERRORS, **_BODY_ERRORS}}
    by_form = "Search by words and image files, with weights"

    @router.post("/api/search", include_in_schema=False)
    @router.post("/api/search/form", **documented, summary=by_form)
    async def search_by_form(
        form: Annotated[schemas.SearchForm, Form(media_type="multipart/form-data")], request: Request
    ) -> Any:
        count = len(form.image)
        if count > MAX_FILES:
            raise InputError(f"a form has at most {MAX_FILES} images, not {count}")
        weights = form.weight or [1.0] * count
        if len(weights) != count:
            raise HTTPException(422, f"weight: there are {len(weights)} for {count} images; give one for each")
        images = [await file.read() for file in form.image]
        parts = [Part(image=image, weight=weight) for image, weight in zip(images, weights, strict=True)]
        return await answer(form.to_query(form.q, *parts), line=form.q, client=client_of(request.scope))

    @router.post("/api/search", **documented, summary="Search by words, images and both, with weights")
    async def search_by_parts(asked: schemas.SearchRequest, request: Request) -> Any:
        parts = [Part(part.text, part.image, part.id, part.weight) for part in asked.parts]
        return await answer(asked.to_query(asked.q, *parts), line=asked.q, client=client_of(request.scope))

    @router.post("/api/search/form", include_in_schema=False)
    @router.post("/api/search", include_in_schema=False)
    def refuse_others() -> JSONResponse:
        return refusal(415, "send application/json or multipart/form-data")


def _add_facets(router: APIRouter, open_searcher: Callable[[], Searcher], slots: Slots) -> None:
    @router.get(
        "/api/facets", response_model=facet_schemas.FacetsResponse, tags=["collection"], responses=_ERRORS,
        summary="Values, dates and folders, with the number of images that have them",
    )  # fmt: skip
    async def facets(options: Annotated[facet_schemas.FacetOptions, Parameters()]) -> Any:
        found = await slots.run(
            lambda: open_searcher().facets(
                options.filter, options.id or None, options.column or None, options.folder, options.folders
            )
        )
        return facet_schemas.FacetsResponse.of(found)


def _add_probes(router: APIRouter, open_searcher: Callable[[], Searcher], readiness: Readiness) -> None:
    @router.get("/api/info", responses=_only(401, 429, 503), response_model=schemas.InfoResponse, tags=["collection"])
    def info() -> Any:
        """The collection: its rows, model, index and columns."""
        found = open_searcher().info()
        return {
            "collection": found.collection, "rows": found.rows, "model": found.model, "dim": found.dim,
            "index": found.index.type, "metric": found.index.metric,
            "columns": [{"name": field.name, "type": field.type.value} for field in found.fields],
        }  # fmt: skip

    @router.get("/healthz", response_model=schemas.StatusResponse, tags=["probes"])
    async def healthz() -> Any:
        """Liveness: the process answers."""
        return {"status": "ok"}

    unavailable: dict[int | str, dict[str, Any]] = {503: {"model": schemas.StatusResponse}}

    @router.get("/readyz", response_model=schemas.StatusResponse, tags=["probes"], responses=unavailable)
    async def readyz() -> Any:
        """Readiness: a search would be answered, as of at most a few seconds ago."""
        reason, key = await readiness.reason()
        answer = {"status": "unavailable", "reason": reason, "key": key}
        return JSONResponse(answer, 503) if reason else {"status": "ok"}


def _only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _ERRORS[status] for status in statuses}

"""The API's routes. They turn HTTP into a `Query` and `Results` into JSON; the searching is `pipelines.Searcher`'s."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from pipelines.errors import CollectionNotFound, SearchError
from pipelines.query import Part, Query
from pipelines.search.results import Results, to_csv
from pipelines.search.searcher import Searcher

from ..library import Library
from ..limits import Slots
from .errors import explain, refusal
from .metrics import Metrics
from .models import (
    ErrorResponse,
    FilterText,
    Fold,
    ImageId,
    InfoResponse,
    K,
    MinScore,
    Offset,
    PartIn,
    SearchRequest,
    SearchResponse,
    StatusResponse,
    Text,
)  # fmt: skip

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "The question cannot be answered: an empty query, a wrong filter.",
        401: "A user and a password are needed.",
        403: "The request comes from another site.",
        404: "No such image.",
        422: "A value is of the wrong type or out of range.",
        429: "Too many requests; `Retry-After` says when to come back.",
        503: "The database or the model does not answer, or too many searches wait.",
    }.items()
}
_UPLOAD_ERRORS: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorResponse, "description": "The body is too large."},
    415: {"model": ErrorResponse, "description": "Neither JSON nor a form, or the image cannot be read."},
}
_MAX_FILES = 16
_SEARCH_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "q": {"type": "string", "description": "A line of the query language."},
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": _MAX_FILES},
                    "weight": {"type": "array", "items": {"type": "number"}, "description": "One for each image."},
                    "k": {"type": "integer"}, "offset": {"type": "integer"}, "filter": {"type": "string"},
                    "min_score": {"type": "number"}, "fold": {"type": "number"},
                },
            }
        },
    },
}  # fmt: skip
Format = Annotated[Literal["json", "csv"], Parameter(description="`csv` answers with a file.")]


class Service:
    """What the routes share: the collection, and how many searches may run and wait."""

    def __init__(self, library: Library, metrics: Metrics, slots: Slots | None = None) -> None:
        self.library, self.metrics = library, metrics
        self._slots = slots or Slots(metrics.queue)

    def searcher(self) -> Searcher:
        """The collection's searcher, measured.

        Raises:
            SearchError: there is no collection, or it cannot be reached.
        """
        searcher = self.library.open()
        if searcher is None:
            raise CollectionNotFound("there are no images to search yet")
        searcher.on_results = self.metrics.observe
        return searcher

    async def search(self, query: Query) -> Results:
        """Runs a search in a thread, when it is its turn."""
        with_image = any(part.image is not None for part in query.parts)
        return await self._slots.run(lambda: self.searcher().search(query), with_image)


def api_routes(service: Service) -> APIRouter:
    """All routes, to be put before the page, which takes every other address."""
    router = APIRouter()
    _add_search(router, service)
    _add_probes(router, service)
    return router


def _add_search(router: APIRouter, service: Service) -> None:
    async def answer(query: Query, form: str = "json") -> Any:
        results = await service.search(query)
        if form == "csv":
            names = service.searcher().field_names
            text = to_csv(results.hits, names, query.fold is not None)
            disposition = {"Content-Disposition": 'attachment; filename="results.csv"'}
            return Response(text, media_type="text/csv; charset=utf-8", headers=disposition)
        return SearchResponse.of(results)

    ok = {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One page of hits."}

    @router.get(
        "/api/search", responses={200: ok, **_ERRORS}, response_model=SearchResponse, tags=["search"],
        summary="Search by words",
    )  # fmt: skip
    async def search(
        q: Annotated[Text, Parameter(description="The query language.", examples=["beach -people"], min_length=1)],
        k: K = 10, offset: Offset = 0, filter: FilterText = "", min_score: MinScore = None, fold: Fold = None,
        format: Format = "json",
    ) -> Any:  # fmt: skip
        request = SearchRequest(q=q, k=k, offset=offset, filter=filter, min_score=min_score, fold=fold)
        return await answer(request.to_query(), format)

    @router.post(
        "/api/search", responses={**_ERRORS, **_UPLOAD_ERRORS}, response_model=SearchResponse, tags=["search"],
        openapi_extra={"requestBody": _SEARCH_BODY}, summary="Search by words, images and both, with weights",
    )  # fmt: skip
    async def search_by_parts(request: Request) -> Any:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        try:
            if kind == "application/json":
                return await answer(SearchRequest.model_validate_json(await request.body()).to_query())
            if kind == "multipart/form-data":
                async with request.form(max_files=_MAX_FILES, max_fields=40) as form:
                    return await answer(await _query_of(form))
        except ValidationError as error:
            status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
            return refusal(status, explain(error))
        return refusal(415, "send application/json or multipart/form-data")

    @router.get(
        "/api/similar/{id}", responses={200: ok, **_ERRORS}, response_model=SearchResponse, tags=["search"],
        summary="Images like one of the collection; its stored vector is used, no model runs",
    )  # fmt: skip
    async def similar(
        id: Annotated[ImageId, Path(examples=["42"])], k: K = 10, offset: Offset = 0, filter: FilterText = "",
        min_score: MinScore = None, fold: Fold = None, format: Format = "json",
    ) -> Any:  # fmt: skip
        return await answer(Query((Part(id=id),), k, offset, filter or None, min_score, fold), format)


async def _query_of(form: FormData) -> Query:
    """A form's fields and files as a query.

    Raises:
        ValidationError, InputError: they make none.
    """
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in ("image", "weight"):
            continue
        if isinstance(value, UploadFile):
            raise HTTPException(422, f"{name[:40]}: not a file's place; send images as 'image'")
        if value or name == "q":
            values[name] = value
    images = [await value.read() for value in form.getlist("image") if isinstance(value, UploadFile)]
    if len(images) != len(form.getlist("image")):
        raise HTTPException(422, "image: must be a file")
    weights: list[Any] = list(form.getlist("weight")) or [1.0] * len(images)
    if len(weights) != len(images):
        raise HTTPException(422, f"weight: there are {len(weights)} for {len(images)} images; give one for each")
    weights = [PartIn.model_validate({"weight": weight}).weight for weight in weights]
    parts = tuple(Part(image=image, weight=weight) for image, weight in zip(images, weights, strict=True))
    return SearchRequest.model_validate(values).to_query(parts)


def _add_probes(router: APIRouter, service: Service) -> None:
    @router.get("/api/info", responses=_only(401, 429, 503), response_model=InfoResponse, tags=["collection"])
    def info() -> Any:
        """What the collection holds: rows, model, columns."""
        found = service.searcher().info()
        return {
            "collection": found.collection, "rows": found.rows, "model": found.model, "dim": found.dim,
            "index": found.index.type, "metric": found.index.metric,
            "columns": [{"name": field.name, "type": field.type.value} for field in found.fields],
        }  # fmt: skip

    @router.get("/healthz", response_model=StatusResponse, tags=["probes"])
    async def healthz() -> Any:
        """The process answers."""
        return {"status": "ok"}

    @router.get(
        "/readyz", response_model=StatusResponse, tags=["probes"], responses={503: {"model": StatusResponse}}
    )  # fmt: skip
    def readyz() -> Any:
        """The collection is there and Milvus answers."""
        try:
            service.searcher().collection.count(strong=False)
        except SearchError as error:
            reason = "there is no collection yet" if isinstance(error, CollectionNotFound) else "Milvus does not answer"
            return JSONResponse({"status": "unavailable", "reason": reason}, 503)
        return {"status": "ok"}

    @router.get("/metrics", response_class=PlainTextResponse, tags=["probes"], responses=_only(401))
    def metrics() -> Any:
        """Prometheus's text format."""
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _ERRORS[status] for status in statuses}

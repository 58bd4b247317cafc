"""The routes for indexing by the page itself: its progress, and adding more images."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pipelines.errors import MissingFile
from pipelines.indexing.prune import source_name

from ..indexer import Indexer, Job
from ..library import Library
from ..proxies import is_from_this_machine


class IndexingResponse(BaseModel):
    """What the page indexes.

    may_add: whether this client may add images, from any folder of this machine or only from those below `add_below`.
    """

    jobs: list[Job]
    may_add: bool
    add_below: list[str]


class AddRequest(BaseModel):
    """A folder or a CSV file on the machine that serves the page."""

    source: str
    watch: bool = False


def indexing_routes(library: Library, indexer: Indexer, add_below: Sequence[str] = ()) -> APIRouter:
    """Return the routes.

    Args:
        add_below: folders below which every client may add images. Clients on this machine may add any folder.
    """
    router = APIRouter()
    roots = [os.path.join(source_name(folder), "") for folder in add_below]

    @router.get("/api/indexing", response_model=IndexingResponse, include_in_schema=False)
    def indexing(request: Request) -> IndexingResponse:
        may_add = bool(roots) or is_from_this_machine(request.scope)
        return IndexingResponse(jobs=indexer.jobs(), may_add=may_add, add_below=list(add_below))

    @router.post("/api/indexing", response_model=IndexingResponse, include_in_schema=False)
    def add(wanted: AddRequest, request: Request) -> IndexingResponse | JSONResponse:
        name = source_name(wanted.source)
        below = any(os.path.join(name, "").startswith(root) for root in roots)
        if not below and not is_from_this_machine(request.scope):
            message = "This folder is not one that the page may index; see serve --allow-add."
            return JSONResponse({"error": message, "key": "indexing_refused"}, 403)
        library.is_filled_here = True
        try:
            indexer.add(wanted.source, wanted.watch)
        except MissingFile as error:
            return JSONResponse({"error": str(error), "key": "indexing_no_source"}, 404)
        return indexing(request)

    return router

"""`image-search serve`: the search page and the HTTP API."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from ..settings import Settings, option


@dataclass(frozen=True)
class ServeOptions:
    """What the page indexes, which host names it answers to, and who may use it."""

    source: str = option("", "", "[SOURCE]")
    watch: bool = option(False, "Index what changes in SOURCE while the page runs: new, moved and deleted images.")
    allow_add: tuple[str, ...] = option(
        (), "Folder below which everyone who may search may add images; may be repeated. This machine may add all."
    )
    allowed_hosts: str = option("", "Further host names that the page answers to, separated by commas.")
    allow_origin: str = option("", "Origins whose pages may use the API (https://example.org), by commas; * for all.")


def serve(settings: Settings, options: ServeOptions) -> None:
    """Start the search page and the HTTP API of a collection.

    Programs search with GET /api/search?q=…, described by /api/openapi.json. Probes are at /healthz and /readyz,
    metrics for Prometheus at /metrics.

    SOURCE is a folder or a CSV that is indexed meanwhile. A Milvus Lite file belongs to one process, so that nobody
    else can insert into it: give the page a SOURCE, or add images on the page.

    \b
    Examples:
      image-search serve
      image-search serve ~/Photos --watch --model builtin
    """
    from app.server import serve as serve_page

    try:
        serve_page(
            settings, _split(options.allowed_hosts), _split(options.allow_origin), options.source, options.watch,
            options.allow_add,
        )  # fmt: skip
    except KeyboardInterrupt:
        print()  # so that the shell's prompt starts on a new line
    # Everything is closed. Threads of libraries may still be running (such as the warm-up's), and ending the
    # interpreter under them fails with "terminate called without an active exception" and SIGABRT.
    sys.stdout.flush()
    os._exit(0)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]

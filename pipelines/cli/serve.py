"""`image-search serve`: the search page and the HTTP API."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from ..settings import Settings, option


@dataclass(frozen=True)
class ServeOptions:
    """Under which names the page answers, and to whom."""

    allowed_hosts: str = option("", "Further host names that the page answers to, separated by commas.")
    allow_origin: str = option("", "Origins whose pages may use the API (https://example.org), by commas; * for all.")


def serve(settings: Settings, options: ServeOptions) -> None:
    """Start the search page and the HTTP API of a collection.

    Programs search with GET /api/search?q=…, described by /api/openapi.json. Probes are at /healthz and /readyz,
    metrics for Prometheus at /metrics.

    A Milvus Lite file belongs to one process: stop the page before you insert into it.
    """
    from app.server import serve as serve_page

    try:
        serve_page(settings, _split(options.allowed_hosts), _split(options.allow_origin))
    except KeyboardInterrupt:
        print()  # so that the shell's prompt begins on a line of its own
    # Everything is closed. Threads of libraries may still be at work (the warm-up's, for one), and ending the
    # interpreter under them fails with "terminate called without an active exception" and SIGABRT.
    sys.stdout.flush()
    os._exit(0)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]

"""`image-search serve`: the search page and the HTTP API."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from ..settings import Settings, env_name, option


@dataclass(frozen=True)
class ServeOptions:
    """Under which names the page answers."""

    allowed_hosts: str = option("", "Further host names that the page answers to, separated by commas.")


def serve(settings: Settings, options: ServeOptions) -> None:
    """Start the search page and the HTTP API of a collection.

    Programs search with GET /api/search?q=…, described by /api/openapi.json. Probes are at /healthz and /readyz,
    metrics for Prometheus at /metrics.

    A Milvus Lite file belongs to one process: stop the page before you insert into it.
    """
    from app.server import check_settings, listen

    check_settings(settings)
    listener = listen(settings.host, settings.port)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.auth:
        print(
            "warning: everyone who can reach this machine sees these images; set a password with "
            f"{env_name('auth')}=user:password",
            file=sys.stderr,
        )
    # Gradio loads only after the address is known to be free.
    from app.library import Library
    from app.server import serve as run

    from ..milvus.connection import close_all

    library = Library(settings)
    hosts = [name.strip() for name in options.allowed_hosts.split(",") if name.strip()]
    try:
        library.open()
        run(library, listener, [settings.host, *hosts])
    except KeyboardInterrupt:
        print()  # so that the shell's prompt begins on a line of its own
    finally:
        close_all()
    # Everything is closed. Threads of libraries may still be at work (the warm-up's, for one), and ending the
    # interpreter under them fails with "terminate called without an active exception" and SIGABRT.
    sys.stdout.flush()
    os._exit(0)

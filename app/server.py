"""Run the page's server: open its port, announce its address, and shut it down."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Iterable, Sequence

import uvicorn

from pipelines.errors import CollectionNotFound, InputError
from pipelines.garbage import pass_over_modules
from pipelines.milvus.client_import import import_client
from pipelines.milvus.connection import close_all
from pipelines.settings import Settings, env_name

from .access import parse_credentials
from .api.indexing import indexing_routes
from .application import build_app
from .connections import backlog, most_connections, protocol
from .indexer import Indexer
from .library import Library
from .log import bound_log
from .media import convert_stored

_ORIGIN = re.compile(r"\*|https?://[^/\s,@]+")
_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    settings: Settings, allowed_hosts: Iterable[str] = (), origins: Sequence[str] = (), source: str = "",
    watch: bool = False, add_below: Sequence[str] = (),
) -> None:  # fmt: skip
    """Serve the search page and the API until Ctrl-C.

    Args:
        allowed_hosts: further host names of the page, for example behind a proxy.
        origins: other origins (`https://example.org`, or `*`) whose pages may use the API.
        source: a folder or a CSV file to index while the page runs.
        watch: also index later changes of the source.
        add_below: folders below which every client that may search may also add images.

    Raises:
        InputError: a setting is not valid, the page's address cannot be used, or the source does not exist.
        SearchError: the database or the model is not available.
    """
    if settings.auth:
        parse_credentials(settings.auth)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise InputError(f"--allow-origin takes origins such as https://example.org, or *; not '{origin}'")
    if settings.rate_limit < 0:
        raise InputError("--rate-limit cannot be negative")
    listener = listen(settings.host, settings.port)
    if settings.host not in _LOCAL and not settings.auth:
        print(
            "warning: everyone who can reach this machine sees these images; set a password with "
            f"{env_name('auth')}=user:password",
            file=sys.stderr,
        )
    if watch and not source:
        raise InputError("--watch follows a SOURCE: image-search serve FOLDER --watch")
    pass_over_modules()
    import_client()  # before other threads import modules for which it uses stand-ins
    library = Library(settings)
    indexer = Indexer(settings, library.describe_again)
    library.is_filled_here = bool(source)

    warm = threading.Event()

    def announce() -> None:
        print(f"Search page: {_address_of(listener)} (Ctrl-C stops it)\n{contents}", flush=True)
        threading.Thread(target=_warm_up, args=[library, warm], daemon=True).start()

    try:
        if source:
            indexer.add(source, watch)
        contents = f"Indexing {source}" if source else _describe_contents(library)
        app = build_app(
            library, [settings.host, *allowed_hosts], on_start=announce, origins=origins, page_after=warm,
            indexing=indexing_routes(library, indexer, add_below),
        )  # fmt: skip
        # The event streams of the page never end by themselves, so shutdown cuts them after a second.
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, timeout_graceful_shutdown=1,
            proxy_headers=False,  # uvicorn would trust every program on this machine; see `TrustedProxies`
            http=protocol(most_connections()), backlog=backlog(),
        )  # fmt: skip
        bound_log()
        uvicorn.Server(config).run([listener])
    finally:
        indexer.close()
        close_all()


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything slow is loaded.

    Raises:
        InputError: the port is in use, or the host is not an address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sets TCP_NODELAY only on connections of a socket that names its protocol. Without TCP_NODELAY, an
        # answer that takes two writes waits 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = "is another page running? choose another with --port" if error.errno else "choose another with --host"
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; {reason}") from error
    except OverflowError as error:
        raise InputError(f"--port must be between 0 and 65535, not {port}") from error
    return listener


def _describe_contents(library: Library) -> str:
    name = library.settings.collection
    try:
        return f"Images in the collection '{name}': {library.searcher().collection.count(strong=False):,}"
    except CollectionNotFound:
        return f"There is no collection '{name}' yet. Fill it with: {library.insert_command}"


def _address_of(listener: socket.socket) -> str:
    """Return the address of the page for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def _warm_up(library: Library, warm: threading.Event) -> None:
    with contextlib.suppress(Exception):  # the first search fails with the same error and shows it
        library.warm_up()
    warm.set()
    convert_stored.warm_up()

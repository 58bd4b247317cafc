"""`python -m app`: starts the search page."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from pipelines.errors import SearchError
from pipelines.settings import Settings, env_name


def _option(name: str, text: str, *flags: str) -> Any:
    default = getattr(Settings(), name, "")
    return typer.Option(
        *(flags or (f"--{name}",)), envvar=env_name(name), help=text, show_default=str(default) if default else False
    )


def main(
    uri: Annotated[str | None, _option("uri", "A Milvus Lite file, or the address of a Milvus server.")] = None,
    token: Annotated[str | None, _option("token", "User and password or API key of the server.")] = None,
    collection: Annotated[str | None, _option("collection", "The collection to search.")] = None,
    model: Annotated[str | None, _option("model", "The model; by default the one that made the collection.")] = None,
    weights: Annotated[str | None, _option("weights", "A weights file for the model.")] = None,
    device: Annotated[str | None, _option("device", "cpu, cuda, mps or auto.")] = None,
    host: Annotated[str | None, _option("host", "Where to listen; 0.0.0.0 opens the page to the network.")] = None,
    port: Annotated[int | None, _option("port", "The port to listen on.")] = None,
    auth: Annotated[
        str | None,
        _option("auth", "user:password that page and API ask for; best by its variable, for ps shows options."),
    ] = None,
    rate_limit: Annotated[
        int | None,
        _option("rate_limit", "Searches and uploads a second that one client may make; 0: no limit.", "--rate-limit"),
    ] = None,
    allowed_hosts: Annotated[
        str, _option("allowed_hosts", "Further host names the page answers to, with commas between.", "--allowed-hosts")
    ] = "",
) -> None:
    """Starts the search page for a collection made by `python -m pipelines insert`.

    The same process answers programs: GET /api/search?q=…, described by /api/openapi.json, with probes at /healthz
    and /readyz and measurements for Prometheus at /metrics.

    A Milvus Lite file belongs to one process: stop the page before inserting into it.
    """
    given = {"uri": uri, "token": token, "collection": collection, "model": model, "weights": weights}
    try:
        settings = Settings.from_env(**given, device=device, host=host, port=port, auth=auth, rate_limit=rate_limit)
        _serve(settings, [name.strip() for name in allowed_hosts.split(",") if name.strip()])
    except SearchError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        print()  # the shell's prompt starts a line of its own
    # All is closed. Libraries' threads may still be at work (the warm-up's, for one), and to take the interpreter down
    # under them ends in "terminate called without an active exception" and SIGABRT.
    sys.stdout.flush()
    os._exit(0)


def _serve(settings: Settings, hosts: list[str]) -> None:
    # Imported here: --help has to answer before PyTorch and Gradio are loaded.
    from .server import check_settings, listen

    check_settings(settings)
    listener = listen(settings.host, settings.port)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.auth:
        print(
            "warning: everyone who can reach this machine sees these images; set a password with "
            f"{env_name('auth')}=user:password",
            file=sys.stderr,
        )
    from pipelines.milvus.connection import close_all

    from .library import Library
    from .server import serve

    library = Library(settings)
    try:
        library.open()
        serve(library, listener, [settings.host, *hosts])
    finally:
        close_all()


if __name__ == "__main__":
    typer.run(main)

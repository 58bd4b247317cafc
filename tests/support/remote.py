"""Fixtures for remote images and CSVs. The web server and fsspec's memory file system are real."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest

from pipelines.fetch import http
from tests.support.images import encode, quadrants
from tests.support.web_server import WebServer


@pytest.fixture(scope="module")
def web_server() -> Iterator[WebServer]:
    """Run a web server with one image, `files["ok"]`."""
    with WebServer() as running:
        running.files["ok"] = encode(quadrants(), "JPEG")
        yield running
    forget_clients()


def forget_clients() -> None:
    """Close the connections that downloads keep open."""
    for allow_private in (True, False):
        http._client(allow_private).close()
    http._make_client.cache_clear()


@pytest.fixture
def bucket() -> Iterator[str]:
    """Return an empty folder in fsspec's memory file system, which exists once in each process."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]

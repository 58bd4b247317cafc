"""Hosts, origins, paths, files, sizes and headers. Each test fails if its check is removed."""

from __future__ import annotations

import asyncio
import contextvars
import io
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from app.application import build_app
from app.events import Events
from app.library import Library
from app.security import Gate
from pipelines import Settings, run_insert
from pipelines.milvus.connection import close
from tests.app.conftest import BASE
from tests.support.page import ROOT, Collection, image_folder
from tests.support.photos import draw_images, write_csv


def test_gradio_serves_only_uploads(client: TestClient, collection: Collection) -> None:
    inside = [image_folder() / "chelsea.png", collection.images / "template.png", ROOT / "app" / "page.py"]
    for path in ["/etc/passwd", "/proc/self/environ", collection.uri / "LOCK", *inside]:
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
            answer = client.get(f"{prefix}{path}")
            assert answer.status_code in (403, 404), (prefix, path)


def test_an_upload_can_be_fetched_but_its_folder_not_be_left(client: TestClient) -> None:
    image = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "PNG")
    (path,) = client.post("/gradio_api/upload", files={"files": ("a.png", image.getvalue())}).json()
    assert client.get(f"/gradio_api/file={path}").content == image.getvalue()
    folder = path.rsplit("/", 2)[0]
    for escape in (f"{folder}/../../../../../../etc/passwd", f"{folder}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"):
        answer = client.get(f"/gradio_api/file={escape}")
        assert answer.status_code in (403, 404)


def test_no_path_leaves_the_uploads_before_gradio_sees_it() -> None:
    gate, headers = Gate([], "/tmp/u"), [(b"host", b"localhost")]
    for path, may_pass in (("/tmp/u/a.png", True), ("/tmp/u/../x", False), ("/tmp/x", False)):
        scope = {"type": "http", "method": "GET", "path": f"/gradio_api/file={path}", "headers": headers}
        assert (gate(scope) is None) == may_pass


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=https://example.com/x.png", "/gradio_api/proxy=https://example.com/", "/pwa_icon/6000",
     "/monitoring", "/gradio_api/runs", "/gradio_api/deep_link", "/gradio_api/vibe-code", "/docs", "/openapi.json",
     "/gradio_api/openapi.json"],
)  # fmt: skip
def test_unused_addresses_of_gradio_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_carries_security_headers(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_a_link_to_the_page_is_shown_without_gradios_own_text(client: TestClient) -> None:
    head = client.get("/").text.partition("window.gradio_config")[0]
    assert re.findall(r'(?:og|twitter):(\w+)"\s+content="(.*?)"', head) == [("title", "Image search")] * 2


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "LOCALHOST:7860", "[::1]:7860", "192.168.1.5", "images.example"])
def test_own_hosts_are_served(client: TestClient, host: str) -> None:
    assert client.get("/favicon.ico", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""])
def test_foreign_hosts_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/thumb/102", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_sites_cannot_post_here(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/gradio_api/upload", files={"files": ("a.png", b"x")}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "images.example"])
def test_other_sites_cannot_read_here(client: TestClient, host: str) -> None:
    answer = client.get("/config", headers={"Origin": "https://evil.example", "Host": host})
    assert "access-control-allow-origin" not in answer.headers


def test_an_oversize_upload_is_refused_with_and_without_a_length(client: TestClient) -> None:
    """Gradio limits each file; here many small files exceed the limit of the body."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    part = head + bytes(2**20) + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/gradio_api/upload", content=part * 26 + b"--b--", headers=headers).status_code == 413
    chunks = (part for _ in range(26))
    assert client.post("/gradio_api/upload", content=chunks, headers=headers).status_code == 413


def test_an_oversize_event_is_refused(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", content=bytes(2**20 + 1)).status_code == 413


FOREIGN_FILES = ["/etc/passwd", str(ROOT / "app" / "page.py"), "http://127.0.0.1:1/x.png", "https://example.com/x.png"]


def file_named(path: str) -> dict[str, object]:
    """Return a value that Gradio takes for a file, anywhere in an event."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("path", [*FOREIGN_FILES, "", "relative.png", 5, ["/etc/passwd"]])
def test_an_event_that_names_a_file_of_the_server_is_refused(client: TestClient, path: str) -> None:
    for data in ([file_named(path), None, "", 12, ""], [[{"x": file_named(path)}]]):
        answer = client.post("/gradio_api/queue/join", json={"data": data, "fn_index": 0, "session_hash": "s"})
        assert answer.status_code == 403


def test_a_link_among_the_uploads_leads_nowhere(client: TestClient) -> None:
    files = {"files": ("a.png", b"x", "image/png")}
    link = Path(client.post("/gradio_api/upload", files=files).json()[0]).with_name("link.png")
    link.symlink_to("/etc/passwd")
    event = {"data": [], "event_data": {"path": str(link)}, "fn_index": 1, "session_hash": "s"}
    assert client.post("/gradio_api/queue/join", json=event).status_code == 403


def test_no_websocket_is_opened(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/gradio_api/queue/join"):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize("path", FOREIGN_FILES)
def test_the_page_itself_refuses_such_an_event_too(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Without `Events`, Gradio checks paths of this machine, and the page checks everything else."""
    monkeypatch.setattr(Events, "_is_upload", lambda self, path: True)
    asked = {"address": "", "turn": 1, "path": path}
    session = f"s{len(path)}"
    ask = {"data": [], "event_data": asked, "fn_index": 1, "session_hash": session}
    assert client.post("/gradio_api/queue/join", json=ask).status_code == 200
    events = client.get(f"/gradio_api/queue/data?session_hash={session}").text
    assert "is not an upload" in events or '"success":false' in events.replace(" ", "")
    assert "gradio_api/file=" not in events


def test_gradio_itself_copies_no_file_of_the_server(client: TestClient) -> None:
    """Gradio itself refuses such a file, even without `Events`, if it believes that the page was launched."""
    from gradio.context import LocalContext
    from gradio.exceptions import InvalidPathError
    from gradio.processing_utils import async_move_files_to_cache

    assert client.get("/config").status_code == 200  # the page is built by now
    blocks = client.app.state.page._blocks  # type: ignore[attr-defined]

    def copy() -> None:
        LocalContext.blocks.set(blocks)
        block = next(iter(blocks.blocks.values()))
        asyncio.run(async_move_files_to_cache(file_named("/etc/passwd"), block, check_in_upload_folder=True))

    with pytest.raises(InvalidPathError, match="it was not uploaded by a user"):
        contextvars.copy_context().run(copy)


def test_an_event_that_is_not_json_is_refused(client: TestClient) -> None:
    for body in (b"", b"{", b"[" * 100_000):
        assert client.post("/gradio_api/queue/join", content=body).status_code == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversize_search_is_refused_with_and_without_a_length(open_client: TestClient, chunked: bool) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = [head, *[bytes(2**20)] * 26, b"\r\n--b--\r\n"]
    answer = open_client.post("/api/search", content=iter(body) if chunked else b"".join(body), headers=headers)
    assert answer.status_code == 413
    assert answer.json() == {"error": "The request is larger than 25 MB."}


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_other_sites_cannot_search_here(open_client: TestClient, headers: dict[str, str]) -> None:
    answer = open_client.post("/api/search", json={"q": "x"}, headers=headers)
    assert answer.status_code == 403
    assert "error" in answer.json()


def test_foreign_hosts_get_no_answer_from_the_api(open_client: TestClient) -> None:
    for path in ("/api/search?q=x", "/api/info", "/metrics", "/healthz"):
        assert open_client.get(path, headers={"Host": "evil.example"}).status_code == 400


def test_every_answer_carries_security_headers(open_client: TestClient) -> None:
    for path in ("/", "/api/info", "/api/search", "/thumb/1", "/nothing", "/metrics", "/api/openapi.json"):
        answer = open_client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["x-frame-options"] == "DENY", path
        assert "access-control-allow-origin" not in answer.headers


def test_files_of_the_server_are_no_query_images(open_client: TestClient) -> None:
    """A query image is data in the request; nothing in a request names a file."""
    for sent in ({"parts": [{"image": "/etc/passwd"}]}, {"parts": [{"path": "/etc/passwd"}]}):
        answer = open_client.post("/api/search", json=sent)
        assert answer.status_code in (415, 422)
        assert "root" not in answer.text


def test_hostile_column_names_stay_names(tmp_path: Path) -> None:
    """A CSV's header cannot become part of a filter, nor of the page: Milvus sees an identifier, people see text."""
    names = ["path", 'x" or id >= 0 or "', "<script>alert(1)</script>", "a; drop", "order by"]
    (path,) = draw_images(tmp_path / "p", 1)
    settings = Settings(uri=str(tmp_path / "h.db"), model="builtin")
    run_insert(write_csv(tmp_path / "h.csv", names, [[path, "1", "2", "3", "4"]]), settings, metadata=False)
    library = Library(settings)
    client = TestClient(build_app(library), base_url=BASE)
    assert [column["name"] for column in client.get("/api/info").json()["columns"]] == names[1:]
    assert all(field.key.isidentifier() and field.key.isascii() for field in library.searcher().fields)
    for name in names[1:]:
        assert client.get("/api/search", params={"q": "x", "filter": f"{name} == 1"}).status_code == 400
    close(settings.uri)

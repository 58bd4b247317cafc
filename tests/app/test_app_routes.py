"""The page's HTTP side, without a browser: images by id, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.security import OnlyUploads
from app.thumbnails import EDGE, Thumbnails, sniff
from tests.support.page import BIG_ID, ROOT, Collection, image_folder, make_collection, run_program


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return make_collection(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def client(collection: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    from app.library import Library
    from app.server import build_app
    from pipelines import Settings

    uri = collection.copy_to(tmp_path_factory.mktemp("db"))
    app = build_app(Library(Settings(uri=uri)), ["images.example"], Thumbnails(cache))
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        yield client


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_thumbnail_is_a_small_webp_that_may_be_kept(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/thumb/{collection.ids['cat']}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert open_image(answer.content).size == (EDGE, EDGE)


def test_thumbnail_is_made_once(client: TestClient, collection: Collection, cache: Path) -> None:
    path = f"/thumb/{collection.ids['rocket']}"
    first = client.get(path)
    kept = {file: file.stat().st_mtime_ns for file in cache.rglob("*.webp")}
    assert first.content in {file.read_bytes() for file in kept}
    assert client.get(path).content == first.content
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.webp")} == kept
    assert not list(cache.rglob("*.part"))


@pytest.mark.parametrize("route", ["thumb", "image"])
def test_known_image_is_not_sent_again(client: TestClient, collection: Collection, route: str) -> None:
    path = f"/{route}/{collection.ids['astronaut']}"
    model_id = client.get(path).headers["etag"]
    for header in (model_id, f'"other", W/{model_id}'):
        again = client.get(path, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", model_id)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_changed_file_is_sent_again(client: TestClient, collection: Collection) -> None:
    path = f"/thumb/{collection.ids['bmp']}"
    before = client.get(path)
    Image.new("RGB", (90, 60), "red").save(collection.images / "turned.bmp")
    after = client.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.content != before.content


def test_full_image_is_the_file_itself(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/image/{collection.ids['rocket']}")
    assert answer.content == (image_folder() / "rocket.jpg").read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"


def test_format_browsers_do_not_all_show_is_converted(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/image/{collection.ids['bmp']}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert open_image(answer.content).format == "JPEG"


def test_ids_of_64_bits_and_negative_ones(client: TestClient) -> None:
    assert client.get(f"/thumb/{BIG_ID}").status_code == 200
    assert client.get("/thumb/-5").status_code == 200


@pytest.mark.parametrize("route", ["thumb", "image"])
@pytest.mark.parametrize(
    "image_id",
    ["999", "x", "", "1.0", "0x10", "٣", "--5", "1" * 30, str(2**63), "../../etc/passwd", "..%2f..%2fetc%2fpasswd",
     "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "105%00", "105/../../etc/passwd", "105 or 1==1"],
)  # fmt: skip
def test_anything_else_is_not_found(client: TestClient, route: str, image_id: str) -> None:
    answer = client.get(f"/{route}/{image_id}")
    assert answer.status_code == 404
    assert b"root:" not in answer.content


@pytest.mark.parametrize("label", ["gone", "svg"])
@pytest.mark.parametrize("route", ["thumb", "image"])
def test_file_that_is_no_image_any_more(client: TestClient, collection: Collection, route: str, label: str) -> None:
    answer = client.get(f"/{route}/{collection.ids[label]}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert str(collection.images) not in answer.text
    assert "svg" not in answer.text


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='x'/>", b"<html>", b"%PDF-1.7", b"RIFF0000WAVE", b"", b"II*\0", b"BM", b"PK\3\4"]
)
def test_only_what_cannot_carry_a_script_is_sent_as_it_is(data: bytes) -> None:
    assert sniff(data) == ""


def test_gradio_serves_no_file_but_uploads(client: TestClient, collection: Collection) -> None:
    inside = [image_folder() / "chelsea.png", collection.images / "template.png", ROOT / "app" / "page.py"]
    for path in ["/etc/passwd", "/proc/self/environ", collection.uri / "LOCK", *inside]:
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
            answer = client.get(f"{prefix}{path}")
            assert answer.status_code in (403, 404), (prefix, path)


def test_upload_can_be_fetched_and_escaped_from_by_nobody(client: TestClient) -> None:
    image = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "PNG")
    (path,) = client.post("/gradio_api/upload", files={"files": ("a.png", image.getvalue())}).json()
    assert client.get(f"/gradio_api/file={path}").content == image.getvalue()
    folder = path.rsplit("/", 2)[0]
    for escape in (f"{folder}/../../../../../../etc/passwd", f"{folder}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"):
        answer = client.get(f"/gradio_api/file={escape}")
        assert answer.status_code in (403, 404)


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=https://example.com/x.png", "/gradio_api/proxy=https://example.com/", "/pwa_icon/6000",
     "/monitoring", "/gradio_api/runs", "/gradio_api/deep_link", "/gradio_api/vibe-code", "/docs", "/openapi.json",
     "/gradio_api/openapi.json"],
)  # fmt: skip
def test_gradio_addresses_without_use_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_page_and_headers(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "LOCALHOST:7860", "[::1]:7860", "192.168.1.5", "images.example"])
def test_own_hosts(client: TestClient, host: str) -> None:
    assert client.get("/favicon.ico", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""])
def test_foreign_hosts(client: TestClient, host: str) -> None:
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


def test_oversize_upload_is_refused_told_or_chunked(client: TestClient) -> None:
    """Many files that are each small enough for Gradio, whose own limit is per file."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    part = head + bytes(2**20) + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/gradio_api/upload", content=part * 26 + b"--b--", headers=headers).status_code == 413
    chunks = (part for _ in range(26))
    assert client.post("/gradio_api/upload", content=chunks, headers=headers).status_code == 413


def test_oversize_question_is_refused(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", content=bytes(2**20 + 1)).status_code == 413


FOREIGN_FILES = ["/etc/passwd", str(ROOT / "app" / "page.py"), "http://127.0.0.1:1/x.png", "https://example.com/x.png"]


def file_named(path: str) -> dict[str, object]:
    """How a client names a file in an event: as any value, not only the image's."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("path", [*FOREIGN_FILES, "", "relative.png", 5, ["/etc/passwd"]])
def test_event_that_names_a_file_of_the_server_is_refused(client: TestClient, path: str) -> None:
    for data in ([file_named(path), None, "", 12, ""], [[{"x": file_named(path)}]]):
        answer = client.post("/gradio_api/queue/join", json={"data": data, "fn_index": 0, "session_hash": "s"})
        assert answer.status_code == 403


@pytest.mark.parametrize("path", FOREIGN_FILES)
def test_page_itself_refuses_it_too(client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Without OnlyUploads: Gradio looks at paths of this machine, the page at whatever is left."""
    monkeypatch.setattr(OnlyUploads, "_is_harmless", lambda self, body: True)
    asked = {"address": "", "turn": 1, "path": path}
    session = f"s{len(path)}"
    ask = {"data": [], "event_data": asked, "fn_index": 1, "session_hash": session}
    assert client.post("/gradio_api/queue/join", json=ask).status_code == 200
    events = client.get(f"/gradio_api/queue/data?session_hash={session}").text
    assert "it is no upload" in events or '"success":false' in events.replace(" ", "")
    assert "gradio_api/file=" not in events


def test_event_that_is_no_json_is_refused(client: TestClient) -> None:
    for body in (b"", b"{", b"[" * 100_000):
        assert client.post("/gradio_api/queue/join", content=body).status_code == 403


def test_help_loads_nothing_slow() -> None:
    done = run_program("-X", "importtime", "-m", "app", "--help")
    assert "--collection" in done.stdout
    for slow in ("gradio", "torch", "pymilvus", "numpy", "fastapi"):
        assert f" {slow}\n" not in done.stderr


def test_errors_are_one_line() -> None:
    done = run_program("-m", "app", "--port", "0", "--uri", "nothing.sqlite")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: 'nothing.sqlite' is no Milvus")


def test_taken_port_is_one_line() -> None:
    from app.server import listen
    from pipelines.errors import InputError

    taken = listen("127.0.0.1", 0)
    with taken, pytest.raises(InputError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])

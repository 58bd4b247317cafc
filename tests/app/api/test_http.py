"""HTTP as programs expect it: HEAD, 405, OPTIONS, gzip, ranges, other origins, base64 of every kind."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.application import build_app
from app.library import Library
from app.media import Thumbnails
from app.server import serve
from pipelines import Settings
from pipelines.errors import InputError
from pipelines.milvus.connection import close
from tests.support.page import Collection, image_folder

BASE = "http://127.0.0.1:7860"
FRIEND = "https://friend.example"
CAT = image_folder() / "chelsea.png"
GETS = [
    "/", "/config", "/favicon.ico", "/healthz", "/readyz", "/metrics", "/api/info", "/api/openapi.json",
    "/api/search?q=a+cat", "/api/similar/102", "/thumb/102", "/image/102",
]  # fmt: skip


@pytest.fixture(scope="module")
def uri(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = collection.copy_to(tmp_path_factory.mktemp("http"))
    yield uri
    close(uri)


@pytest.fixture(scope="module")
def client(uri: str, cache: Path) -> Iterator[TestClient]:
    app = build_app(Library(Settings(uri=uri, rate_limit=0)), thumbnails=Thumbnails(cache))
    with TestClient(app, base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def friendly(uri: str, cache: Path) -> TestClient:
    """Serve the same images with a password, and allow the pages of one other origin."""
    settings = Settings(uri=uri, rate_limit=0, auth="ann:secret")
    return TestClient(build_app(Library(settings), thumbnails=Thumbnails(cache), origins=[FRIEND]), base_url=BASE)


@pytest.mark.parametrize("path", GETS)
def test_head_tells_what_get_sends(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    if not path.startswith(("/metrics", "/api/s")):  # these contain times
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("path", ["/thumb/999", "/api/similar/999", "/api/search", "/nothing"])
def test_head_refuses_what_get_refuses(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == client.get(path).status_code != 200


@pytest.mark.parametrize("path", GETS)
def test_a_wrong_method_is_405_and_names_the_right_ones(client: TestClient, path: str) -> None:
    answer = client.delete(path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert ("POST" in answer.headers["allow"]) == path.startswith("/api/search")
    if path.startswith("/api/"):
        assert list(answer.json()) == ["error"]


def test_options_tells_the_methods(client: TestClient) -> None:
    answer = client.options("/api/search")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize("path", ["/api/search?q=a&k=17", "/api/search?q=a&k=17&format=csv", "/api/openapi.json"])
def test_answers_of_the_api_are_compressed_for_those_who_ask(client: TestClient, path: str) -> None:
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        packed = b"".join(answer.iter_raw())
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert len(packed) < len(plain.content) / 2
    assert gzip.decompress(packed)[:30] == plain.content[:30]
    assert "accept-encoding" in plain.headers["vary"].lower()


def test_an_image_is_not_compressed_again(client: TestClient) -> None:
    assert "content-encoding" not in client.get("/image/102", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=100-", slice(100, None)), ("bytes=-50", slice(-50, None)),
     ("bytes=5-99999999999", slice(5, None)), ("bytes=-99999999999", slice(0, None))],
)  # fmt: skip
def test_a_range_of_an_original(client: TestClient, asked: str, part: slice) -> None:
    whole = client.get("/image/102")
    assert whole.headers["accept-ranges"] == "bytes"
    answer = client.get("/image/102", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole.content[part]
    start, stop, _ = part.indices(len(whole.content))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole.content)}"
    assert answer.headers["content-type"] == "image/png"
    same = {"Range": asked, "If-Range": whole.headers["etag"]}
    assert client.get("/image/102", headers=same).status_code == 206
    assert client.get("/image/102", headers={"Range": asked, "If-Range": '"older"'}).content == whole.content


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=10-5", "bytes=-0"])
def test_a_range_that_the_image_does_not_have(client: TestClient, asked: str) -> None:
    answer = client.get("/image/102", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"].startswith("bytes */")


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6"])
def test_a_range_that_is_none_gets_the_whole_image(client: TestClient, asked: str) -> None:
    assert client.get("/image/102", headers={"Range": asked}).status_code == 200


def test_no_page_of_another_origin_reads_here_by_default(client: TestClient) -> None:
    asks = {"Origin": FRIEND, "Access-Control-Request-Method": "GET"}
    assert client.options("/api/search", headers=asks).status_code == 400
    assert "access-control-allow-origin" not in client.get("/api/info", headers={"Origin": FRIEND}).headers
    assert client.post("/api/search", json={"q": "a"}, headers={"Origin": FRIEND}).status_code == 403


def test_a_page_of_an_allowed_origin_uses_the_api_and_nothing_else(friendly: TestClient) -> None:
    asks = {
        "Origin": FRIEND, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }  # fmt: skip
    preflight = friendly.options("/api/search", headers=asks)  # without the password, as browsers send it
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, FRIEND)
    friend = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    found = friendly.post("/api/search", json={"q": "a"}, headers=friend, auth=("ann", "secret"))
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, FRIEND)
    refused = friendly.get("/api/info", headers=friend)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, FRIEND)
    for path in ("/gradio_api/queue/join", "/gradio_api/upload"):
        assert friendly.post(path, json={}, headers=friend, auth=("ann", "secret")).status_code == 403
    stranger = {**friend, "Origin": "https://friend.example.evil.example"}
    answer = friendly.post("/api/search", json={"q": "a"}, headers=stranger, auth=("ann", "secret"))
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["friend.example", "https://friend.example/", "https://a b", "https://u:p@x", ""])
def test_what_is_no_origin_is_refused_before_any_work(origin: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--allow-origin takes origins such as"):
        serve(Settings(uri=str(tmp_path / "a.db")), origins=[origin])


@pytest.mark.long
def test_an_image_may_come_in_any_base64(client: TestClient, collection: Collection) -> None:
    plain = base64.b64encode(CAT.read_bytes()).decode()
    safe = base64.urlsafe_b64encode(CAT.read_bytes()).decode()
    wrapped = "\n".join(plain[start : start + 76] for start in range(0, len(plain), 76))
    assert "-" in safe
    for image in (plain, safe, safe.rstrip("="), wrapped, f"data:image/png;base64,{plain}", f"DATA:;base64,{safe}"):
        answer = client.post("/api/search", json={"parts": [{"image": image}], "k": 1})
        assert answer.status_code == 200, answer.text
        assert answer.json()["hits"][0]["id"] == collection.ids["cat"]


@pytest.mark.parametrize("image", ["abcde", "a!", "data:image/png,abcd", "data:image/png;base64", "ä", 5, None, ["a"]])
def test_what_is_no_base64_is_named(client: TestClient, image: object) -> None:
    answer = client.post("/api/search", json={"parts": [{"image": image}]})
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]

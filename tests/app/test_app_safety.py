"""Password, limits and links, on the page and the API alike. Each test fails where its guard is taken away."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.errors import Busy
from app.auth import Auth, parse_credentials
from app.library import Library
from app.limits import Buckets, Slots, client_of
from app.server import build_app
from app.thumbnails import Thumbnails
from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.milvus.connection import close
from tests.support.page import run_program
from tests.support.photos import draw_images, write_csv

BASE = "http://127.0.0.1:7860"
PASSWORD = ("ann", "tüü:long")
# One of each kind: the page, its files, its events, an upload, an image, the API and its document.
GUARDED = [
    ("GET", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/queue/data?session_hash=x"), ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/info"),
    ("GET", "/thumb/1"), ("GET", "/image/1"), ("GET", "/api/search?q=x"), ("POST", "/api/search"),
    ("GET", "/api/similar/1"), ("GET", "/api/info"), ("GET", "/api/openapi.json"), ("GET", "/metrics"),
    ("HEAD", "/image/1"), ("GET", "/favicon.ico"),
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Five images: the last is a link to one outside of their folder."""
    folder = tmp_path_factory.mktemp("safe")
    paths = draw_images(folder / "photos", 4)
    outside = draw_images(folder / "outside", 6)
    link = folder / "photos" / "link.jpg"
    link.symlink_to(outside[5])
    rows = [[number, path] for number, path in enumerate([*paths, link], 1)]
    settings = Settings(uri=str(folder / "safe.db"), model="builtin", auth=":".join(PASSWORD), rate_limit=0)
    run_insert(write_csv(folder / "p.csv", ["id", "path"], rows), settings)
    yield settings
    close(settings.uri)


@pytest.fixture(scope="module")
def library(settings: Settings) -> Library:
    return Library(settings)


@pytest.fixture(scope="module")
def guarded(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(build_app(library, thumbnails=Thumbnails(tmp_path_factory.mktemp("t"))), base_url=BASE) as client:
        yield client


def client_at(client: TestClient, address: str) -> TestClient:
    """The same application, asked from another address: throttles count by address."""
    return TestClient(client.app, base_url=BASE, client=(address, 1), raise_server_exceptions=False)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_without_the_password(guarded: TestClient, method: str, path: str) -> None:
    answer = client_at(guarded, "10.0.0.1").request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/config", "/thumb/1", "/image/1", "/api/search?q=x", "/api/info", "/metrics"])
def test_everything_with_it(guarded: TestClient, path: str) -> None:
    header = base64.b64encode(":".join(PASSWORD).encode()).decode()
    answer = client_at(guarded, "10.0.0.2").get(path, headers={"Authorization": f"Basic {header}"})
    assert answer.status_code == 200


def test_probes_need_none(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !", "Basic " + base64.b64encode(b"ann:").decode(), "Bearer x", "",
               "Digest " + base64.b64encode(":".join(PASSWORD).encode()).decode(),
               "Basic " + base64.b64encode(b"ann:t\xc3\xbc\xc3\xbc:lon").decode()],
)  # fmt: skip
def test_wrong_passwords(guarded: TestClient, header: str) -> None:
    answer = client_at(guarded, f"10.0.1.{len(header)}").get("/api/info", headers={"Authorization": header})
    assert answer.status_code == 401


def test_guessing_is_throttled_by_client_even_for_the_right_password(guarded: TestClient) -> None:
    guesser, owner = client_at(guarded, "10.0.0.3"), client_at(guarded, "10.0.0.4")
    statuses = [guesser.get("/api/info", auth=("ann", f"guess{number}")).status_code for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    throttled = guesser.get("/api/info", auth=("ann", "tüü:long"))
    assert throttled.status_code == 429
    assert int(throttled.headers["retry-after"]) >= 1
    assert throttled.json() == {"error": "Too many wrong passwords; wait a moment."}
    right = base64.b64encode(":".join(PASSWORD).encode()).decode()
    assert owner.get("/api/info", headers={"Authorization": f"Basic {right}"}).status_code == 200
    assert guesser.get("/api/info").status_code == 401  # no password is no guess


def test_a_password_has_two_parts() -> None:
    assert parse_credentials("a:b:c") == b"a:b:c"
    for text in ("a", ":b", "a:"):
        with pytest.raises(InputError, match="user:password"):
            parse_credentials(text)
    assert "hidden" not in repr(Settings(auth="a:hidden"))


def test_passwords_are_compared_by_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("app.auth.hmac.compare_digest", lambda *both: bool(compared.append(both)))
    Auth(None, b"a:b")._is_right("Basic " + base64.b64encode(b"a:b").decode())  # type: ignore[arg-type]
    ((sent, ours),) = compared
    assert sent == ours
    assert len(sent) == 32


@pytest.mark.parametrize(
    ("path", "post"), [("/api/search?q=x", False), ("/api/similar/1", False), ("/gradio_api/queue/join", True),
                       ("/gradio_api/upload", True), ("/api/search", True)],
)  # fmt: skip
def test_one_client_cannot_ask_too_often(library: Library, path: str, post: bool) -> None:
    from dataclasses import replace

    limited = Library(replace(library.settings, auth="", rate_limit=3))
    app = TestClient(build_app(limited), base_url=BASE)

    def ask(address: str, path: str) -> int:
        client = client_at(app, address)
        return (client.post(path) if post else client.get(path)).status_code

    statuses = [ask("10.0.2.1", path) for _ in range(9)]
    assert 429 not in statuses[:6]
    assert 429 in statuses[6:]
    assert ask("10.0.2.2", path) != 429
    assert all(client_at(app, "10.0.2.1").get("/thumb/1").status_code == 200 for _ in range(9))


def test_buckets_fill_again_and_forget_the_oldest() -> None:
    now = 0.0
    buckets = Buckets(rate=2, burst=3, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now = 0.5
    assert buckets.take("a", 0) == 0
    assert buckets.take("a") == 0
    assert buckets.take("a", 0) > 0
    now = 100.0
    assert [bool(buckets.take("a")) for _ in range(4)] == [False, False, False, True]
    for number in range(10_001):
        buckets.take(str(number))
    assert len(buckets._clients) == 10_000


def test_an_ipv6_network_is_one_client() -> None:
    assert client_of({"client": ("2001:db8::1", 1)}) == client_of({"client": ("2001:db8::ffff:2", 1)})
    assert client_of({"client": ("2001:db8:0:1::1", 1)}) != client_of({"client": ("2001:db8::1", 1)})
    assert client_of({"client": ("10.0.0.1", 1)}) != client_of({"client": ("10.0.0.2", 1)})
    assert client_of({"client": None}) == ""


def test_too_many_waiting_searches_are_refused() -> None:
    import threading

    import anyio
    from prometheus_client import CollectorRegistry, Gauge

    gauge = Gauge("queue", "x", ["state"], registry=CollectorRegistry())
    release = threading.Event()
    outcomes: list[str] = []

    async def ask(slots: Slots) -> None:
        try:
            await slots.run(lambda: release.wait(10))
            outcomes.append("done")
        except Busy:
            outcomes.append("busy")

    async def main() -> None:
        slots = Slots(gauge, running=2, waiting=3)
        async with anyio.create_task_group() as group:
            for _ in range(7):
                group.start_soon(ask, slots)
                await anyio.sleep(0.02)
            states = {sample.labels["state"]: sample.value for sample in next(iter(gauge.collect())).samples}
            outcomes.append(str(states == {"waiting": 3.0, "running": 2.0}))
            release.set()

    anyio.run(main)
    assert outcomes == ["busy", "busy", "True", *["done"] * 5]


@pytest.fixture(scope="module")
def open_client(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The same images without a password."""
    from dataclasses import replace

    app = build_app(Library(replace(library.settings, auth="")), thumbnails=Thumbnails(tmp_path_factory.mktemp("t")))
    with TestClient(app, base_url=BASE) as client:
        yield client


def test_a_link_leads_only_where_it_led_when_it_was_indexed(open_client: TestClient, settings: Settings) -> None:
    folder = Path(settings.uri).parent
    for route in ("thumb", "image"):
        assert open_client.get(f"/{route}/5").status_code == 200
    link, private = folder / "photos" / "link.jpg", draw_images(folder / "private", 1, size=(50, 40))[0]
    link.unlink()
    link.symlink_to(private)
    for route in ("thumb", "image"):
        assert open_client.get(f"/{route}/5").status_code == 404
    inside, kept = folder / "photos" / "00001.jpg", (folder / "photos" / "00001.jpg").read_bytes()
    inside.unlink()
    inside.symlink_to(private)  # a plain file when it was indexed
    for route in ("thumb", "image"):
        assert open_client.get(f"/{route}/2").status_code == 404
    inside.unlink()
    inside.write_bytes(kept)
    assert open_client.get("/image/2").content == kept


def test_a_folder_that_became_a_link_leads_nowhere(open_client: TestClient, settings: Settings) -> None:
    folder = Path(settings.uri).parent
    draw_images(folder / "elsewhere", 4, size=(40, 40))
    os.rename(folder / "photos", folder / "moved")
    (folder / "photos").symlink_to(folder / "elsewhere")
    assert open_client.get("/image/1").status_code == 404
    (folder / "photos").unlink()
    os.rename(folder / "moved", folder / "photos")
    assert open_client.get("/image/1").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_oversize_searches_are_refused_told_or_chunked(open_client: TestClient, chunked: bool) -> None:
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


def test_every_answer_carries_the_headers(open_client: TestClient) -> None:
    for path in ("/", "/api/info", "/api/search", "/thumb/1", "/nothing", "/metrics", "/api/openapi.json"):
        answer = open_client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["x-frame-options"] == "DENY", path
        assert "access-control-allow-origin" not in answer.headers


def test_files_of_the_server_are_no_query_images(open_client: TestClient) -> None:
    """An image is what was sent, never a path: nothing in a request names a file."""
    for sent in ({"parts": [{"image": "/etc/passwd"}]}, {"parts": [{"path": "/etc/passwd"}]}):
        answer = open_client.post("/api/search", json=sent)
        assert answer.status_code in (415, 422)
        assert "root" not in answer.text


def test_hostile_columns_are_names_or_nothing(tmp_path: Path) -> None:
    """A CSV's header cannot become part of a filter, nor of the page."""
    names = ["path", 'x" or id >= 0 or "', "<script>alert(1)</script>", "a; drop", "order by"]
    (path,) = draw_images(tmp_path / "p", 1)
    settings = Settings(uri=str(tmp_path / "h.db"), model="builtin")
    run_insert(write_csv(tmp_path / "h.csv", names, [[path, "1", "2", "3", "4"]]), settings)
    client = TestClient(build_app(Library(settings)), base_url=BASE)
    columns = [column["name"] for column in client.get("/api/info").json()["columns"]]
    assert all(name.isidentifier() and name.isascii() for name in columns)
    for name in columns:
        answer = client.get("/api/search", params={"q": "x", "filter": f"{name} is not empty"})
        assert (answer.status_code, len(answer.json()["hits"])) == (200, 1)
    for name in names[1:]:
        assert client.get("/api/search", params={"q": "x", "filter": f"{name} == 1"}).status_code == 400
    close(settings.uri)


@pytest.mark.parametrize(
    ("auth", "warned"), [({}, True), ({"IMAGE_SEARCH_AUTH": "a:b"}, False)]
)  # fmt: skip
def test_open_to_the_network_without_a_password_is_said(tmp_path: Path, auth: dict[str, str], warned: bool) -> None:
    import subprocess
    import sys

    from tests.support.page import ROOT, environment

    command = [sys.executable, "-m", "app", "--host", "0.0.0.0", "--port", "0", "--uri", "x.sqlite"]
    done = subprocess.run(command, cwd=ROOT, env=environment(**auth), capture_output=True, text=True, timeout=60)
    assert ("IMAGE_SEARCH_AUTH=user:password" in done.stderr) == warned
    assert Settings().host == "127.0.0.1"


def test_a_password_of_one_part_stops_the_page_at_once() -> None:
    done = run_program("-m", "app", "--port", "0", "--auth", "nopassword")
    assert (done.returncode, done.stderr) == (2, "error: auth must be user:password\n")

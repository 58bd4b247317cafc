"""Images and CSVs on the web and in object stores: fetched with limits, side by side, and never from a private place.

The server and fsspec's memory file system are real; only the name service is made up where a name has to change
under the client's feet.
"""

from __future__ import annotations

import csv
import gc
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, UnreadableImage
from pipelines.fetch import http as web
from pipelines.fetch import network as connections
from pipelines.fetch.http import Limits
from pipelines.fetch.network import is_public
from pipelines.fetch.read import MAX_BYTES, is_remote, read_file
from pipelines.fetch.stores import fetch
from pipelines.images.decode import decode
from pipelines.sources.paths import absolute_in
from pipelines.sources.remote_csv import RemoteCsv
from pipelines.sources.source import Row, open_source, path_id
from tests.support.images import UPRIGHT, colours_at_corners, encode, quadrants
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.web_server import WebServer

# For what must run out of time. What must arrive has the product's own limits: beside other work nothing is quick.
QUICK = Limits(connect=1, read=0.5, total=1)


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        running.files["ok"] = encode(quadrants(), "JPEG")
        yield running


@pytest.fixture
def store() -> Iterator[str]:
    """A folder in fsspec's memory file system, which is one for the whole process."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def refusal(url: str, allow_private: bool = True, limits: Limits = Limits()) -> str:  # noqa: B008 -- frozen
    with pytest.raises(UnreadableImage) as caught:
        fetch(url, allow_private, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What is an address ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["http://a/b.jpg", "HTTPS://a", "s3://bucket/a.jpg", "memory://a", "gs://a b/c"])
def test_addresses(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize(
    "path", ["a.jpg", "/a://b", "C:\\a.jpg", "c:/a.jpg", "file:///a.jpg", "", "://x", b"http://a", 5]
)
def test_no_addresses(path: object) -> None:
    assert not is_remote(path)


def test_cells_of_a_local_csv() -> None:
    absolute = absolute_in("/photos")
    cells = ["http://h/../a.jpg", "s3://b/a.jpg", "file:///x/a%20b.jpg", "../a.jpg", "/b.jpg", ".hidden.jpg", ""]
    wanted = ["http://h/../a.jpg", "s3://b/a.jpg", "/x/a b.jpg", "/a.jpg", "/b.jpg", "/photos/.hidden.jpg", ""]
    assert list(map(absolute, cells)) == wanted


def test_cells_of_a_csv_at_an_address() -> None:
    absolute = absolute_in("https://host/data/photos.csv?key=1/2")
    cells = ["cats/a.jpg", "../a.jpg", "/b.jpg", "http://other/c.jpg", ""]
    wanted = ["https://host/data/cats/a.jpg", "https://host/a.jpg", "https://host/b.jpg", "http://other/c.jpg", ""]
    assert list(map(absolute, cells)) == wanted
    assert absolute_in("s3://bucket/photos.csv")("a.jpg") == "s3://bucket/a.jpg"


# --- Fetching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["files/ok", "redirects/5", "busy/1", "gzip"])
def test_an_image_is_fetched(server: WebServer, path: str) -> None:
    assert fetch(f"{server.url}/{path}", True) == server.files["ok"]
    assert server.hosts[-1] == server.url.removeprefix("http://")


def test_decode_and_read_file_take_addresses(server: WebServer) -> None:
    address = f"{server.url}/files/ok"
    assert read_file(address, allow_private=True) == server.files["ok"]
    assert colours_at_corners(decode(address, 64, allow_private=True)) == UPRIGHT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", "the server answers 404 Not Found"),
        ("status/403", "the server answers 403 Forbidden"),
        ("status/500", "the server answers 500 Internal Server Error"),
        ("redirects/6", "redirects more than 5 times"),
        ("announces-much", "larger than 64 MiB"),
        ("sends-much", "larger than 64 MiB"),
        ("wrong-gzip", "the server's compression is damaged"),
        ("to/ftp:||localhost|a", "redirects to ftp://localhost/a: not an address that can be fetched"),
        ("to/file:||localhost|etc|passwd", "redirects to file://localhost/etc/passwd: not an address"),
        ("to/http:||localhost:1|a", "redirects to http://localhost:1/a: cannot connect"),
        ("to/http:||[::1", "not an address that can be fetched"),
    ],
)
def test_a_server_that_disappoints_is_a_reason(server: WebServer, path: str, reason: str) -> None:
    assert reason in refusal(f"{server.url}/{path}")


@pytest.mark.parametrize(("path", "limit"), [("silent", "0.5 s"), ("drips", "1 s"), ("trickles", "1 s")])
def test_a_server_that_takes_its_time_is_not_waited_for(server: WebServer, path: str, limit: str) -> None:
    """Left alone, each of them would take six seconds or more."""
    start = time.monotonic()
    assert refusal(f"{server.url}/{path}", limits=QUICK) == f"timed out after {limit}"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["cut", "hangs-up", "status/503", "status/429"])
def test_a_server_that_breaks_off_or_is_busy_is_asked_again(server: WebServer, path: str, monkeypatch) -> None:
    monkeypatch.setattr(web, "PAUSES", (0.01, 0.01))
    server.requests.clear()
    reason = refusal(f"{server.url}/{path}")
    assert ("the server answers" if "status" in path else "broke off") in reason
    assert server.requests[f"/{path}"] == 3


def test_a_compressed_bomb_stops_at_the_limit(server: WebServer) -> None:
    assert refusal(f"{server.url}/gzip-bomb") == "larger than 64 MiB"


def test_a_login_page_is_no_image(server: WebServer) -> None:
    with pytest.raises(UnreadableImage, match="HTML"):
        decode(f"{server.url}/html", allow_private=True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:1/a.jpg", "cannot connect"),
        ("http://no-such-host.invalid/a.jpg", "there is no host 'no-such-host.invalid'"),
        ("http://", "not an address that can be fetched"),
        ("http://[::1", "not an address that can be fetched"),
        ("http://localhost:99999/", "there is no port 99999"),
        ("ftp://host/a.jpg", "addresses of the kind ftp:// are not supported"),
        ("sftp://host/a.jpg", "addresses of the kind sftp:// are not supported"),
        ("s3://bucket/a.jpg::file:///etc/passwd", "are not supported"),
        ("zip://a.jpg::http://host/a.zip", "are not supported"),
        ("simplecache::s3://bucket/a.jpg", "are not supported"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_reason(url: str, reason: str) -> None:
    assert reason in refusal(url)


def test_a_host_that_does_not_answer_is_not_waited_for_by_every_image() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = [socket.socket() for _ in range(4)]  # a full queue: further connections are left waiting
    for one in full:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
    try:
        start = time.monotonic()
        reasons = [refusal(url, limits=Limits(connect=0.3, read=0.3, total=5)) for _ in range(20)]
        assert set(reasons) == {"cannot connect within 0.3 s"}
        assert time.monotonic() - start < 4  # 6, were each waited for
    finally:
        for one in [*full, listener]:
            one.close()


# --- Private addresses -----------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 192.0.2.1 "
    "::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 "
    "64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_a_private_address_is_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0"])
def test_private_addresses_are_refused_however_they_are_written(server: WebServer, host: str) -> None:
    server.requests.clear()
    url = f"http://{host}:{server.server.server_port}/files/ok"
    assert "is a private address; --allow-private-urls lets it be fetched" in refusal(url, allow_private=False)
    assert not server.requests


@pytest.fixture
def resolver(monkeypatch) -> dict[str, list[list[str]]]:
    """Answers for made-up names, one after the other; and 127.0.0.2 counts as a public address."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host in answers:
            found = answers[host].pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]
        return real(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(connections, "is_public", lambda address: address == "127.0.0.2")
    return answers


@pytest.fixture
def public() -> Iterator[WebServer]:
    try:
        running = WebServer("127.0.0.2")
    except OSError:
        pytest.skip("127.0.0.2 is no address of this machine")
    with running:
        running.files["ok"] = b"from the public one"
        yield running


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    public: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    resolver["rebinding.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    address = f"http://rebinding.test:{public.server.server_port}/files/ok"
    assert fetch(address) == b"from the public one"
    assert len(resolver["rebinding.test"]) == 1  # not asked a second time
    assert public.hosts == [f"rebinding.test:{public.server.server_port}"]


def test_of_several_addresses_only_public_ones_are_connected_to(
    public: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    resolver["mixed.test"] = [["127.0.0.1", "127.0.0.2"]]
    assert fetch(f"http://mixed.test:{public.server.server_port}/files/ok") == b"from the public one"


def test_a_redirect_to_a_private_address_is_refused(
    public: WebServer, server: WebServer, resolver: dict[str, list[list[str]]]
) -> None:
    server.requests.clear()
    target = f"{server.url}/files/ok".replace("/", "|")
    reason = refusal(f"{public.url}/to/{target}", allow_private=False)
    assert reason.startswith(f"redirects to {server.url}/files/ok: 127.0.0.1 is a private address")
    assert not server.requests


def test_a_proxy_of_the_environment_does_not_get_round_the_check(server: WebServer, monkeypatch) -> None:
    server.requests.clear()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.url)
    assert "private address" in refusal("http://10.0.0.1/a.jpg", allow_private=False)
    assert not server.requests


def test_tls_checks_the_name_and_not_the_address_connected_to(tmp_path: Path, monkeypatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    alias = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*make.split(), *alias], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with WebServer() as secure:
        secure.files["ok"] = b"image"
        secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
        port = secure.server.server_port
        assert "no secure connection" in refusal(f"https://localhost:{port}/files/ok")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        web._client.cache_clear()
        try:
            assert fetch(f"https://localhost:{port}/files/ok", True, QUICK) == b"image"
            assert "no secure connection" in refusal(f"https://127.0.0.1:{port}/files/ok")
        finally:
            web._client.cache_clear()


# --- Object stores ---------------------------------------------------------------------------------------------------


def test_an_object_is_read_with_a_limit(store: str) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/bucket/a.jpg", b"image")
    filesystem.pipe("/bucket/large.jpg", bytes(MAX_BYTES + 1))
    assert fetch(f"{store}/a.jpg") == b"image"
    assert refusal(f"{store}/large.jpg") == "larger than 64 MiB"
    assert refusal(f"{store}/missing.jpg") == "no such object in the store"


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_is_named(scheme: str, package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        assert refusal(f"{scheme}://bucket/a.jpg") == f"{scheme}:// needs one more package: pip install {package}"
    else:
        pytest.skip(f"{package} is installed")


def rows_of(source: str, **options: Any) -> list[Row]:
    return list(chain.from_iterable(open_source(source, **options).chunks(3)))


def test_a_folder_in_a_store_is_walked_as_one_on_a_disk(store: str, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    names = ("b.JPG", "a.png", "cats/2.jpg", "cats/1.webp", "cats/old/3.jpg", ".git/5.jpg", ".a.jpg", "notes.txt")
    for name in names:
        filesystem.pipe(f"/bucket/{name}", b"x")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows, local = rows_of(f"{store}/"), rows_of(str(tmp_path))
    assert [row.path for row in rows] == [row.path.replace(str(tmp_path), store) for row in local]
    assert [(row.line, row.fields) for row in rows] == [(row.line, row.fields) for row in local]
    assert [row.id for row in rows] == [path_id(row.path) for row in rows]
    assert open_source(store, limit=2).total == 2


def test_a_csv_in_a_store_lists_what_lies_beside_it(store: str) -> None:
    fsspec.filesystem("memory").pipe("/bucket/data/photos.csv", b"path,label\na.jpg,x\nhttp://h/b.jpg,y\n/c.jpg,z\n")
    paths = [row.path for row in rows_of(f"{store}/data/photos.csv")]
    assert paths == [f"{store}/data/a.jpg", "http://h/b.jpg", f"{store}/c.jpg"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("memory://bucket/nothing", "memory://bucket/nothing: no such object in the store"),
        ("memory://bucket/a.jpg", "is an image: give a CSV of paths"),
        ("ftp://host/photos", "addresses of the kind ftp:// are not supported"),
        (
            "http://localhost:1/photos.csv",
            "http://localhost:1/photos.csv cannot be downloaded: localhost (127.0.0.1) is",
        ),
    ],
)
def test_sources_that_cannot_be_had(store: str, source: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(source)
    assert words in str(caught.value)


# --- CSVs ------------------------------------------------------------------------------------------------------------


def test_a_csv_on_the_web_is_read_and_its_mistakes_are_named_by_its_address(server: WebServer) -> None:
    server.files["photos.csv"] = b"id,path\n1,a.jpg\n2,cats/b.jpg\n"
    server.files["twice.csv"] = b"path\na.jpg\n./a.jpg\n"
    base = f"{server.url}/files"
    rows = rows_of(f"{base}/photos.csv", allow_private=True)
    assert [(row.id, row.path) for row in rows] == [(1, f"{base}/a.jpg"), (2, f"{base}/cats/b.jpg")]
    with pytest.raises(InputError) as caught:
        open_source(f"{base}/twice.csv", allow_private=True)
    assert str(caught.value) == f"{base}/twice.csv, rows 2 and 3, column 'path': the same path twice"


def test_the_temporary_file_of_a_csv_goes_with_it(server: WebServer) -> None:
    server.files["photos.csv"] = b"path\na.jpg\n"
    source = RemoteCsv(f"{server.url}/files/photos.csv", allow_private=True)
    kept = Path(source)
    assert kept.read_bytes() == server.files["photos.csv"]
    del source
    gc.collect()
    assert not kept.exists()


def test_leave_to_fetch_from_private_addresses_is_a_setting(monkeypatch) -> None:
    assert not Settings.from_env().allow_private_urls
    for text, expected in (("1", True), ("true", True), ("0", False), ("no", False)):
        monkeypatch.setenv("IMAGE_SEARCH_ALLOW_PRIVATE_URLS", text)
        assert Settings.from_env().allow_private_urls is expected


def test_ids_of_addresses_come_from_the_address(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", ["path"], [["https://host/a.jpg"], ["https://host/b.jpg"]])
    assert [row.id for row in rows_of(str(table))] == [path_id("https://host/a.jpg"), path_id("https://host/b.jpg")]
    table = write_csv(tmp_path / "b.csv", ["path"], [["https://host/a.jpg"]] * 2)
    with pytest.raises(InputError, match="rows 2 and 3, column 'path': the same path twice"):
        open_source(table)


# --- Insert and search -----------------------------------------------------------------------------------------------


def counts(summary: Any) -> tuple[int, int, int, int]:
    return summary.inserted, summary.updated, summary.unchanged, summary.rejected


def test_insert_fetches_side_by_side_and_a_bad_address_costs_one_row(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    images = draw_images(tmp_path / "more", 64)
    settings = Settings(lite.uri, model="builtin", allow_private_urls=True)
    with WebServer(delay=0.1) as server:
        server.files |= {path.name: path.read_bytes() for path in images}
        rows = [[number, f"{server.url}/files/{path.name}"] for number, path in enumerate(images)]
        rows += [[100, f"{server.url}/files/gone.jpg"], [101, f"{server.url}/html"], [102, str(photos.paths[0])]]
        table = write_csv(tmp_path / "web.csv", ["id", "path"], rows)
        summary = run_insert(table, settings, rejects=str(tmp_path / "r.csv"))
        assert counts(summary) == (65, 0, 0, 2)
        assert server.most_at_once >= 16
        with open(tmp_path / "r.csv", encoding="utf-8") as file:
            reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
        assert reasons["100"] == "the server answers 404 Not Found"
        assert "HTML" in reasons["101"]
        assert counts(run_insert(table, settings, rejects=str(tmp_path / "r.csv")))[2] == 65
        found = Searcher(settings).by_image(f"{server.url}/files/{images[7].name}", limit=1).hits
        assert (found[0].id, found[0].path) == (7, f"{server.url}/files/{images[7].name}")


def test_without_leave_nothing_is_fetched_from_a_private_address(
    lite: Settings, server: WebServer, tmp_path: Path
) -> None:
    server.requests.clear()
    table = write_csv(tmp_path / "web.csv", ["path"], [[f"{server.url}/files/ok"]])
    assert counts(run_insert(table, lite, rejects=str(tmp_path / "r.csv"))) == (0, 0, 0, 1)
    assert "is a private address" in (tmp_path / "r.csv").read_text()
    assert not server.requests


def test_a_folder_in_a_store_is_indexed(lite: Settings, store: str, photos: Photos) -> None:
    for path in photos.paths:
        fsspec.filesystem("memory").pipe(f"/bucket/photos/{path.name}", path.read_bytes())
    assert counts(run_insert(f"{store}/photos", lite)) == (12, 0, 0, 0)
    assert counts(run_insert(f"{store}/photos", lite)) == (0, 0, 12, 0)


def test_the_page_shows_images_that_lie_elsewhere(
    lite: Settings, server: WebServer, store: str, photos: Photos, tmp_path: Path
) -> None:
    fastapi_client = pytest.importorskip("fastapi.testclient").TestClient
    from app.library import Library
    from app.server import build_app
    from app.thumbnails import Thumbnails

    fsspec.filesystem("memory").pipe("/bucket/a.jpg", photos.paths[0].read_bytes())
    rows = [[1, f"{server.url}/files/ok"], [2, f"{store}/a.jpg"]]
    table = write_csv(tmp_path / "web.csv", ["id", "path"], rows)
    settings = Settings(lite.uri, model="builtin", allow_private_urls=True)
    assert counts(run_insert(table, settings)) == (2, 0, 0, 0)
    thumbnails = Thumbnails(tmp_path / "cache", allow_private=True)
    with fastapi_client(build_app(Library(settings), (), thumbnails), base_url="http://127.0.0.1:7860") as client:
        assert client.get("/image/1").content == server.files["ok"]
        assert client.get("/image/2").content == photos.paths[0].read_bytes()
        before = server.requests["/files/ok"]
        for _ in range(2):  # the second from the cache
            assert {client.get(f"/thumb/{number}").headers["content-type"] for number in (1, 2)} == {"image/webp"}
        assert server.requests["/files/ok"] == before + 1
    strict = Thumbnails(tmp_path / "other")
    with pytest.raises(UnreadableImage, match="private address"):
        strict.get(f"{server.url}/files/ok", "key")


def test_one_clients_connections_serve_many_threads(server: WebServer) -> None:
    with ThreadPoolExecutor(40) as pool:
        pieces = set(pool.map(lambda _: fetch(f"{server.url}/files/ok", True), range(400)))
    assert pieces == {server.files["ok"]}

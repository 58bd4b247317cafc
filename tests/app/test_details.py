"""What the viewer shows of an image, and who may open its folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.types import Message

from app.application import build_app
from app.details import _from_file
from app.library import Library
from pipelines import Settings
from tests.support.page import BIG_ID, HOSTILE_KIND, Collection, image_folder


def test_details_say_where_the_file_is_and_what_the_columns_hold(client: TestClient, collection: Collection) -> None:
    known = client.get(f"/details/{collection.ids['rocket']}?q=a+cat").json()
    file = image_folder() / "rocket.jpg"
    assert (known["path"], known["folder"], known["bytes"]) == (str(file), str(file.parent), file.stat().st_size)
    assert (known["is_here"], known["can_open"]) == (True, False)
    assert ["kind", "kind", HOSTILE_KIND] in known["fields"]
    assert (known["width"], known["height"]) == (640, 427)  # read from the file: the collection has no such columns
    assert known["card"]["label"] == "rocket"
    assert known["card"]["use"] == f"?q=a+cat+id%3A{collection.ids['rocket']}"


def test_details_show_what_a_camera_wrote(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Box 1"
    exif.get_ifd(0x8769)[0x9003] = "2021:05:14 10:30:00"
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert _from_file(str(tmp_path / "a.jpg"), {"width": 7}) == {
        "taken": "2021-05-14T10:30:00", "camera": "Box 1", "height": 40,
    }  # fmt: skip
    assert _from_file(str(tmp_path / "b.jpg"), {}) == {}


def test_the_calls_of_a_request_share_one_limit_of_time(
    client: TestClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    monkeypatch.setattr(Library, "answering", lambda _: nullcontext(requests.append("one")))
    assert client.get(f"/details/{collection.ids['gone']}").status_code == 200
    assert client.post(f"/folder/{collection.ids['gone']}").status_code == 403
    assert len(requests) == 2


def test_details_of_a_file_that_is_gone(client: TestClient, collection: Collection) -> None:
    known = client.get(f"/details/{collection.ids['gone']}").json()
    assert (known["is_here"], known["modified"]) == (False, "")
    assert client.get(f"/details/{BIG_ID}").json()["card"]["id"] == str(BIG_ID)
    assert client.get("/details/999").status_code == 404


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a desktop whose opener writes down what it is asked to open."""
    asked = tmp_path / "asked.txt"
    script = tmp_path / "xdg-open"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {asked}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    return asked


Post = Callable[..., int]


@pytest.fixture
def post(settings: Settings, library: Library) -> Post:
    """Return a function that asks to open the folder of image 1: page's address, client's address, headers → status."""

    def status(base: str, client: str, host: str = "127.0.0.1", name: str = "", proxy: str = "", **headers: str) -> int:
        own = Library(replace(settings, auth="", host=host, trusted_proxy=(proxy,) if proxy else ()))
        own._searcher = library.searcher()
        app = build_app(own, [host, name] if name else [host])
        asking = TestClient(app, base_url=base, client=(client, 1))
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return asking.post("/folder/1", headers={"origin": base, **names}).status_code

    return status


def test_a_folder_is_opened_for_a_browser_on_this_machine(post: Post, opener: Path, settings: Settings) -> None:
    assert post("http://127.0.0.1:7860", "127.0.0.1") == 204
    end = time.monotonic() + 60
    while not (opener.exists() and opener.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    assert opener.read_text() == str(Path(settings.uri).parent / "photos")
    assert post("http://localhost:7860", "::1") == 204
    assert post("http://127.0.0.1:7860", "127.0.0.1", name="photos.example", proxy="10.0.0.1") == 204


def test_a_folder_that_does_not_open_is_an_error(post: Post, opener: Path) -> None:
    (opener.parent / "xdg-open").write_text("#!/bin/sh\nexit 3\n")
    assert post("http://127.0.0.1:7860", "127.0.0.1") == 404


@pytest.mark.long
@pytest.mark.parametrize(
    ("base", "client", "headers"),
    [
        ("http://127.0.0.1:7860", "192.0.2.1", {}),  # another machine
        ("http://192.0.2.1:7860", "127.0.0.1", {}),  # a tunnel, or a proxy that does not name its client
        ("http://photos.example", "127.0.0.1", {"name": "photos.example"}),
        ("http://127.0.0.1:7860", "127.0.0.1", {"name": "photos.example"}),  # the Host is forged, or the proxy's own
        ("http://127.0.0.1:7860", "127.0.0.1", {"proxy": "127.0.0.1"}),
        ("http://127.0.0.1:7860", "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
        ("http://127.0.0.1:7860", "127.0.0.1", {"via": "1.1 proxy"}),
        ("http://127.0.0.1:7860", "127.0.0.1", {"origin": "http://photos.example"}),
    ],
)  # fmt: skip
def test_a_folder_is_opened_for_nobody_else(
    post: Post, opener: Path, base: str, client: str, headers: dict[str, str]
) -> None:
    assert post(base, client, **headers) == 403
    assert not opener.exists()


def test_a_proxy_that_speaks_the_http_of_1996_is_not_this_machine(
    library: Library, settings: Settings, opener: Path
) -> None:
    """nginx speaks HTTP/1.0 by default, and then names neither itself nor its client."""
    app, status = build_app(Library(replace(settings, auth=""))), list[int]()

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        status.append(message.get("status", 0))

    for version in ("1.0", "1.1"):
        scope = {
            "type": "http", "http_version": version, "method": "POST", "path": "/folder/1", "raw_path": b"/folder/1",
            "headers": [(b"host", b"127.0.0.1:7860")], "client": ("127.0.0.1", 1), "query_string": b"",
            "scheme": "http", "server": ("127.0.0.1", 7860), "root_path": "",
        }  # fmt: skip
        asyncio.run(app(scope, receive, send))
    assert status[0] == 403
    assert 204 in status


def test_a_page_that_others_can_reach_opens_no_folder(post: Post, opener: Path) -> None:
    assert post("http://127.0.0.1:7860", "127.0.0.1", host="0.0.0.0") == 403
    assert not opener.exists()


def test_a_folder_is_offered_to_nobody_else(settings: Settings, opener: Path) -> None:
    app = build_app(Library(replace(settings, auth="")))
    asking = [TestClient(app, base_url="http://127.0.0.1:7860", client=(one, 1)) for one in ("127.0.0.1", "192.0.2.1")]
    assert [one.get("/details/1").json()["can_open"] for one in asking] == [True, False]

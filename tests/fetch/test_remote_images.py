"""Images on the web and in object stores are inserted, searched and shown like local ones."""

from __future__ import annotations

import csv
from pathlib import Path

import fsspec
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import UnreadableImage
from tests.support.insert import counts
from tests.support.photos import Photos, draw_images, write_csv
from tests.support.web_server import WebServer


def test_private_addresses_are_allowed_by_a_setting(monkeypatch) -> None:
    assert not Settings.from_env().allow_private_urls
    for text, expected in (("1", True), ("true", True), ("0", False), ("no", False)):
        monkeypatch.setenv("IMAGE_SEARCH_ALLOW_PRIVATE_URLS", text)
        assert Settings.from_env().allow_private_urls is expected


@pytest.mark.long
def test_insert_fetches_images_in_parallel_and_a_bad_url_costs_one_row(
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


def test_without_the_setting_nothing_is_fetched_from_a_private_address(
    lite: Settings, web_server: WebServer, tmp_path: Path
) -> None:
    web_server.requests.clear()
    table = write_csv(tmp_path / "web.csv", ["path"], [[f"{web_server.url}/files/ok"]])
    assert counts(run_insert(table, lite, rejects=str(tmp_path / "r.csv"))) == (0, 0, 0, 1)
    assert "is a private address" in (tmp_path / "r.csv").read_text()
    assert not web_server.requests


def test_a_folder_in_a_bucket_is_indexed(lite: Settings, bucket: str, photos: Photos) -> None:
    for path in photos.paths:
        fsspec.filesystem("memory").pipe(f"/bucket/photos/{path.name}", path.read_bytes())
    assert counts(run_insert(f"{bucket}/photos", lite)) == (12, 0, 0, 0)
    assert counts(run_insert(f"{bucket}/photos", lite)) == (0, 0, 12, 0)


@pytest.mark.long
def test_the_page_shows_remote_images(
    lite: Settings, web_server: WebServer, bucket: str, photos: Photos, tmp_path: Path
) -> None:
    fastapi_client = pytest.importorskip("fastapi.testclient").TestClient
    from app.application import build_app
    from app.library import Library
    from app.media import Thumbnails

    fsspec.filesystem("memory").pipe("/bucket/a.jpg", photos.paths[0].read_bytes())
    rows = [[1, f"{web_server.url}/files/ok"], [2, f"{bucket}/a.jpg"]]
    table = write_csv(tmp_path / "web.csv", ["id", "path"], rows)
    settings = Settings(lite.uri, model="builtin", allow_private_urls=True)
    assert counts(run_insert(table, settings)) == (2, 0, 0, 0)
    thumbnails = Thumbnails(tmp_path / "cache", allow_private=True)
    with fastapi_client(build_app(Library(settings), (), thumbnails), base_url="http://127.0.0.1:7860") as client:
        assert client.get("/image/1").content == web_server.files["ok"]
        assert client.get("/image/2").content == photos.paths[0].read_bytes()
        before = web_server.requests["/files/ok"]
        for _ in range(2):  # the second time from the cache
            assert {client.get(f"/thumb/{number}").headers["content-type"] for number in (1, 2)} == {"image/webp"}
        assert web_server.requests["/files/ok"] == before + 1
    strict = Thumbnails(tmp_path / "other")
    with pytest.raises(UnreadableImage, match="private address"):
        strict.get(f"{web_server.url}/files/ok", "key")

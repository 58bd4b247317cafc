"""Downloads of the original files, single or as a ZIP, and the files that must not be downloaded."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from app import downloads
from app.library import Library
from pipelines import Settings
from tests.app.conftest import PASSWORD
from tests.support.page import Collection, image_folder
from tests.support.photos import draw_images


def zip_of(client: TestClient, *ids: object) -> Response:
    prepared = client.post("/zip", data={"ids": ",".join(map(str, ids))})
    return client.get(f"/{prepared.json()['address']}")


def names_in(data: bytes) -> list[str]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive.namelist()


def test_a_file_is_saved_as_it_is(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/download/{collection.ids['bmp']}")
    assert answer.content == (collection.images / "turned.bmp").read_bytes()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''turned.bmp"


def test_several_files_are_one_zip(client: TestClient, collection: Collection) -> None:
    ids = [collection.ids[name] for name in ("rocket", "cat", "rocket", "gone", "bmp")]
    answer = zip_of(client, *ids)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''images.zip"
    assert names_in(answer.content) == ["rocket.jpg", "chelsea.png", "turned.bmp", "missing.txt"]
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.read("rocket.jpg") == (image_folder() / "rocket.jpg").read_bytes()
    assert archive.read("missing.txt") == b"gone.png\n"


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    paths = [draw_images(tmp_path / folder, 1)[0] for folder in ("a", "b")]
    originals = [downloads.Original(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths]
    assert names_in(b"".join(downloads._zip(originals, False))) == ["00000.jpg", "00000 (2).jpg"]


def test_another_page_sends_what_one_has_prepared(open_client: TestClient, guarded: TestClient) -> None:
    """Behind a proxy, either of two processes may get the second request."""
    prepared = open_client.post("/zip", data={"ids": "1,2"})
    answer = guarded.get(f"/{prepared.json()['address']}", auth=(PASSWORD[0].encode(), PASSWORD[1].encode()))
    assert names_in(answer.content) == ["00000.jpg", "00001.jpg"]


def test_a_zip_is_bounded(client: TestClient, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = f"{collection.ids['rocket']},{collection.ids['cat']}"
    assert client.get("/zip/unknown").status_code == 404
    assert client.post("/zip", data={"ids": ",".join(map(str, range(1001)))}).status_code == 413
    monkeypatch.setattr(downloads, "MOST_BYTES", 200_000)
    answer = client.post("/zip", data={"ids": ids})
    assert (answer.status_code, "at most" in answer.json()["error"]) == (413, True)


def test_a_zip_is_sent_file_by_file(tmp_path: Path) -> None:
    paths = draw_images(tmp_path, 3)
    parts = downloads._zip([downloads.Original(str(path), 0, path.stat().st_size) for path in paths], False)
    for path in paths:
        assert path.stat().st_size < len(next(parts)) < path.stat().st_size + 200


def test_few_zips_wait_to_be_saved(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PREPARED_BYTES", 7)
    app = FastAPI()
    app.include_router(downloads.download_routes(library))
    client = TestClient(app)
    addresses = [client.post("/zip", data={"ids": "1,2"}).json()["address"] for _ in range(3)]
    assert [client.get(f"/{address}").status_code for address in addresses] == [404, 200, 200]


def test_files_that_grew_break_the_transfer_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = draw_images(tmp_path, 3)
    originals = [downloads.Original(str(path), 0, 0) for path in paths]
    monkeypatch.setattr(downloads, "MOST_BYTES", paths[0].stat().st_size + 1)
    with pytest.raises(downloads.ArchiveTooLarge):
        list(downloads._zip(originals, False))


@pytest.mark.parametrize("image_id", ["999", "x", "../../etc/passwd", "%2e%2e/etc/passwd"])
def test_only_images_of_the_collection_are_sent(client: TestClient, collection: Collection, image_id: str) -> None:
    assert client.get(f"/download/{image_id}").status_code == 404
    assert names_in(zip_of(client, image_id).content) == []


def test_a_file_that_is_no_longer_an_image_is_not_sent(client: TestClient, collection: Collection) -> None:
    assert client.get(f"/download/{collection.ids['svg']}").status_code == 404
    assert names_in(zip_of(client, collection.ids["svg"]).content) == ["missing.txt"]


def test_a_link_that_came_later_leads_nowhere(open_client: TestClient, settings: Settings) -> None:
    folder = Path(settings.uri).parent / "photos"
    private = draw_images(folder.parent / "secret", 1, size=(50, 40))[0]
    kept = (folder / "00000.jpg").rename(folder / "kept.jpg")
    (folder / "00000.jpg").symlink_to(private)
    assert open_client.get("/download/1").status_code == 404
    assert not open_client.get("/details/1").json()["is_here"]
    kept.replace(folder / "00000.jpg")
    assert open_client.get("/download/1").status_code == 200


def test_another_site_cannot_ask_for_a_zip(client: TestClient) -> None:
    answer = client.post("/zip", data={"ids": "102"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403

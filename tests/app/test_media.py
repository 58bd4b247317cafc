"""Images by id: thumbnails and full images, their caching, and files that must not be sent."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.media import THUMB, Thumbnails, sniff
from pipelines import Settings
from tests.support.page import BIG_ID, Collection, image_folder
from tests.support.photos import draw_images


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_thumbnail_is_a_small_webp_of_the_whole_image_that_may_be_cached(
    client: TestClient, collection: Collection
) -> None:
    answer = client.get(f"/thumb/{collection.ids['cat']}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert open_image(answer.content).size == (451, 300)  # the size of the image itself
    astronaut = open_image(client.get(f"/thumb/{collection.ids['astronaut']}").content)
    assert astronaut.size == (THUMB[1], THUMB[1])  # 512 × 512


@pytest.mark.long
def test_a_preview_fills_a_screen(client: TestClient, tmp_path: Path) -> None:
    """A JPEG of 12 megapixels is shrunk while it is decoded, and only then resized to the requested size."""
    image = Image.effect_noise((4000, 3000), 60).convert("RGB")
    image.save(tmp_path / "large.jpg")
    thumbnails = Thumbnails(tmp_path)
    for edge, size in ((1280, (1280, 960)), (2048, (2048, 1536))):
        preview = thumbnails.get(str(tmp_path / "large.jpg"), f"large{edge}", (edge, edge))
        assert open_image(preview.data).size == size


def test_a_preview_has_one_of_two_sizes(client: TestClient, collection: Collection) -> None:
    path = f"/preview/{collection.ids['galaxies']}"
    answers = [client.get(f"{path}?edge={edge}") for edge in ("900", "1280", "1281", "99999")]
    assert {answer.status_code for answer in answers} == {200}
    assert open_image(answers[0].content).size == (1000, 872)
    assert len({answer.headers["etag"] for answer in answers[:2]}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 2
    assert client.get(f"{path}?edge=wide").status_code == 422


def test_a_thumbnail_is_made_once(client: TestClient, collection: Collection, cache: Path) -> None:
    path = f"/thumb/{collection.ids['rocket']}"
    first = client.get(path)
    kept = {file: file.stat().st_mtime_ns for file in cache.rglob("*.webp")}
    assert first.content in {file.read_bytes() for file in kept}
    assert client.get(path).content == first.content
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.webp")} == kept
    assert not list(cache.rglob("*.part"))


@pytest.mark.parametrize("route", ["thumb", "preview", "image"])
def test_an_image_the_browser_knows_is_not_sent_again(client: TestClient, collection: Collection, route: str) -> None:
    path = f"/{route}/{collection.ids['astronaut']}"
    etag = client.get(path).headers["etag"]
    for header in (etag, f'"other", W/{etag}'):
        again = client.get(path, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_changed_file_is_sent_again(client: TestClient, collection: Collection) -> None:
    path = f"/thumb/{collection.ids['bmp']}"
    before = client.get(path)
    Image.new("RGB", (90, 60), "red").save(collection.images / "turned.bmp")
    after = client.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.content != before.content


def test_a_full_image_is_the_file_itself(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/image/{collection.ids['rocket']}")
    assert answer.content == (image_folder() / "rocket.jpg").read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"


def test_a_format_that_not_every_browser_shows_is_converted(client: TestClient, collection: Collection) -> None:
    answer = client.get(f"/image/{collection.ids['bmp']}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert open_image(answer.content).format == "JPEG"


def test_ids_have_64_bits_and_may_be_negative(client: TestClient) -> None:
    assert client.get(f"/thumb/{BIG_ID}").status_code == 200
    assert client.get("/thumb/-5").status_code == 200


@pytest.mark.parametrize("route", ["thumb", "preview", "image"])
@pytest.mark.parametrize(
    "image_id",
    ["999", "x", "", "1.0", "0x10", "٣", "--5", "1" * 30, str(2**63), "../../etc/passwd", "..%2f..%2fetc%2fpasswd",
     "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "105%00", "105/../../etc/passwd", "105 or 1==1"],
)  # fmt: skip
def test_anything_but_a_known_id_is_not_found(client: TestClient, route: str, image_id: str) -> None:
    answer = client.get(f"/{route}/{image_id}")
    assert answer.status_code == 404
    assert b"root:" not in answer.content


@pytest.mark.parametrize("label", ["gone", "svg"])
@pytest.mark.parametrize("route", ["thumb", "preview", "image"])
def test_a_file_that_is_no_longer_an_image_is_not_sent(
    client: TestClient, collection: Collection, route: str, label: str
) -> None:
    answer = client.get(f"/{route}/{collection.ids[label]}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert str(collection.images) not in answer.text
    assert "svg" not in answer.text


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='x'/>", b"<html>", b"%PDF-1.7", b"RIFF0000WAVE", b"", b"II*\0", b"BM", b"PK\3\4"]
)
def test_data_that_could_carry_a_script_is_not_sent_as_it_is(data: bytes) -> None:
    assert sniff(data) == ""


def test_a_link_leads_only_where_it_led_when_it_was_indexed(open_client: TestClient, settings: Settings) -> None:
    folder = Path(settings.uri).parent
    for route in ("thumb", "preview", "image"):
        assert open_client.get(f"/{route}/5").status_code == 200
    link, private = folder / "photos" / "link.jpg", draw_images(folder / "private", 1, size=(50, 40))[0]
    link.unlink()
    link.symlink_to(private)
    for route in ("thumb", "preview", "image"):
        assert open_client.get(f"/{route}/5").status_code == 404
    inside, kept = folder / "photos" / "00001.jpg", (folder / "photos" / "00001.jpg").read_bytes()
    inside.unlink()
    inside.symlink_to(private)  # it was a plain file when it was indexed
    for route in ("thumb", "preview", "image"):
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


def test_thumbnails_on_the_disk_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = draw_images(tmp_path / "photos", 3)
    whole = Thumbnails(tmp_path / "whole")
    sizes = [len(whole.get(str(path), path.stem).data) for path in paths]
    monkeypatch.setattr("app.media.MOST_BYTES", sum(sizes) - 1)
    bounded = Thumbnails(tmp_path / "bounded")
    for path in paths:
        bounded.get(str(path), path.stem)
    assert 0 < bounded.cache.size < sum(sizes)
    assert bounded.cache.get(paths[0].stem) is None

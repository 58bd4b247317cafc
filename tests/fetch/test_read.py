"""The bytes of a file are read from a disk, the web or an object store, with a limit, or the reason is given."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import UnreadableFile, UnreadableImage
from pipelines.fetch.read import MAX_BYTES, is_remote, open_store, read_file
from pipelines.images.decode import decode
from tests.support.images import UPRIGHT, colours_at_corners, encode, quadrants
from tests.support.web_server import WebServer


def reason_for(path: str | os.PathLike[str]) -> str:
    """Return the reason why a file cannot be read."""
    with pytest.raises(UnreadableImage) as caught:
        read_file(path, allow_private=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", ["http://a/b.jpg", "HTTPS://a", "s3://bucket/a.jpg", "memory://a", "gs://a b/c"])
def test_a_url_is_remote(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize(
    "path", ["a.jpg", "/a://b", "C:\\a.jpg", "c:/a.jpg", "file:///a.jpg", "", "://x", b"http://a", 5]
)
def test_a_local_path_is_not_remote(path: object) -> None:
    assert not is_remote(path)


def test_an_image_is_read_from_a_url(web_server: WebServer) -> None:
    address = f"{web_server.url}/files/ok"
    assert read_file(address, allow_private=True) == web_server.files["ok"]
    assert colours_at_corners(decode(read_file(address, allow_private=True), 64)) == UPRIGHT


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert reason_for(tmp_path / "a.jpg") == "larger than 64 MiB"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused_with_that_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(quadrants(), "JPEG"))
    (tmp_path / "a.jpg").chmod(0)
    assert reason_for(tmp_path / "a.jpg") == "no permission to read it"


def test_a_login_page_is_not_an_image(web_server: WebServer) -> None:
    with pytest.raises(UnreadableImage, match="HTML"):
        decode(read_file(f"{web_server.url}/html", allow_private=True))


def test_an_object_in_a_bucket_is_read_up_to_the_limit(bucket: str) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/bucket/a.jpg", b"image")
    filesystem.pipe("/bucket/large.jpg", bytes(MAX_BYTES + 1))
    assert read_file(f"{bucket}/a.jpg") == b"image"
    assert reason_for(f"{bucket}/large.jpg") == "larger than 64 MiB"
    assert reason_for(f"{bucket}/missing.jpg") == "no such object in the store"


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_message_names_the_package_that_a_store_needs(scheme: str, package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        assert reason_for(f"{scheme}://bucket/a.jpg") == f"{scheme}:// needs one more package: pip install {package}"
    else:
        pytest.skip(f"{package} is installed")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/a.jpg",
        "sftp://host/a.jpg",
        "s3://bucket/a.jpg::file:///etc/passwd",
        "zip://a.jpg::http://host/a.zip",
        "simplecache::s3://bucket/a.jpg",
    ],
)
def test_no_other_kind_of_url_is_supported(url: str) -> None:
    with pytest.raises(UnreadableFile, match="are not supported") as caught:
        open_store(url)
    assert "::" in url or f"addresses of the kind {url.partition('://')[0]}:// are" in str(caught.value)

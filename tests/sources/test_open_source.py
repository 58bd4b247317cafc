"""A source is a CSV or a folder, local or remote. Anything else is refused with a message that names it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import InputError
from pipelines.sources import open_source
from pipelines.sources.csv_text import RemoteCsv
from pipelines.sources.source import absolute_in
from tests.support.sources import refusal, rows_of
from tests.support.web_server import WebServer


def test_a_source_that_is_neither_a_csv_nor_a_folder_is_refused(csv_of, tmp_path: Path) -> None:
    assert "is an image: give a CSV of paths" in refusal(csv_of(b"\xff\xd8\xff", "cat.JPG"))
    assert refusal(tmp_path / "missing.csv") == "there is no file or folder FILE"
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refusal(tmp_path / "pipe.csv")
    assert "there is no file or folder" in refusal(tmp_path / ("x" * 300))


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
def test_a_remote_source_that_cannot_be_read_is_refused(bucket: str, source: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(source)
    assert words in str(caught.value)


# --- Paths in a CSV --------------------------------------------------------------------------------------------------


def test_paths_in_a_local_csv_are_relative_to_its_folder() -> None:
    absolute = absolute_in("/photos")
    cells = ["http://h/../a.jpg", "s3://b/a.jpg", "file:///x/a%20b.jpg", "../a.jpg", "/b.jpg", ".hidden.jpg", ""]
    wanted = ["http://h/../a.jpg", "s3://b/a.jpg", "/x/a b.jpg", "/a.jpg", "/b.jpg", "/photos/.hidden.jpg", ""]
    assert list(map(absolute, cells)) == wanted


def test_paths_in_a_remote_csv_are_relative_to_its_url() -> None:
    absolute = absolute_in("https://host/data/photos.csv?key=1/2")
    cells = ["cats/a.jpg", "../a.jpg", "/b.jpg", "http://other/c.jpg", ""]
    wanted = ["https://host/data/cats/a.jpg", "https://host/a.jpg", "https://host/b.jpg", "http://other/c.jpg", ""]
    assert list(map(absolute, cells)) == wanted
    assert absolute_in("s3://bucket/photos.csv")("a.jpg") == "s3://bucket/a.jpg"


# --- Remote CSVs -----------------------------------------------------------------------------------------------------


def test_a_csv_in_a_bucket_lists_images_beside_it(bucket: str) -> None:
    fsspec.filesystem("memory").pipe("/bucket/data/photos.csv", b"path,label\na.jpg,x\nhttp://h/b.jpg,y\n/c.jpg,z\n")
    paths = [row.path for row in rows_of(f"{bucket}/data/photos.csv")]
    assert paths == [f"{bucket}/data/a.jpg", "http://h/b.jpg", f"{bucket}/c.jpg"]


def test_a_csv_on_the_web_is_read_and_messages_about_it_name_its_url(web_server: WebServer) -> None:
    web_server.files["photos.csv"] = b"id,path\n1,a.jpg\n2,cats/b.jpg\n"
    web_server.files["twice.csv"] = b"path\na.jpg\n./a.jpg\n"
    base = f"{web_server.url}/files"
    rows = rows_of(f"{base}/photos.csv", allow_private=True)
    assert [(row.id, row.path) for row in rows] == [(1, f"{base}/a.jpg"), (2, f"{base}/cats/b.jpg")]
    with pytest.raises(InputError) as caught:
        open_source(f"{base}/twice.csv", allow_private=True)
    assert str(caught.value) == f"{base}/twice.csv, rows 2 and 3, column 'path': the same path twice"


@pytest.mark.long
def test_the_temporary_file_of_a_remote_csv_is_removed_with_it(web_server: WebServer) -> None:
    web_server.files["photos.csv"] = b"path\na.jpg\n"
    source = RemoteCsv(f"{web_server.url}/files/photos.csv", allow_private=True)
    kept = Path(source)
    assert kept.read_bytes() == web_server.files["photos.csv"]
    del source
    gc.collect()
    assert not kept.exists()

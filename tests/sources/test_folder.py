"""A folder is walked in a fixed order, on a disk and in an object store alike."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec

from pipelines.sources import open_source
from pipelines.sources.source import path_id
from tests.support.sources import refusal, rows_of


def test_a_folder_is_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "cats/2.jpg", "cats/1.webp", "cats/old/3.jpg", "birds/4.avif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in (".hidden.jpg", ".git/5.jpg", "cats/notes.txt", "x.jpg/6.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = rows_of(tmp_path)
    assert [(os.path.relpath(row.path, tmp_path), row.fields["label"], row.line) for row in rows] == [
        ("a.png", "", 1),
        ("b.JPG", "", 2),
        ("birds/4.avif", "birds", 3),
        ("cats/1.webp", "cats", 4),
        ("cats/2.jpg", "cats", 5),
        ("cats/old/3.jpg", "old", 6),
        ("x.jpg/6.jpg", "x.jpg", 7),
    ]
    assert rows_of(tmp_path, 2) == rows
    assert rows_of(tmp_path, limit=3) == rows[:3]
    assert open_source(tmp_path, 3).total == 3
    assert rows[4].id == path_id(f"{tmp_path}/cats/2.jpg")


def test_a_folder_and_a_csv_give_an_image_the_same_id(csv_of, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert rows_of(csv_of("path\na.jpg\n"))[0].id == rows_of(tmp_path)[0].id


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert refusal(tmp_path).startswith("there is no image in FILE (looked for .avif .bmp")


def test_a_folder_in_a_bucket_is_walked_like_a_folder_on_a_disk(bucket: str, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    names = ("b.JPG", "a.png", "cats/2.jpg", "cats/1.webp", "cats/old/3.jpg", ".git/5.jpg", ".a.jpg", "notes.txt")
    for name in names:
        filesystem.pipe(f"/bucket/{name}", b"x")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows, local = rows_of(f"{bucket}/"), rows_of(tmp_path)
    assert [row.path for row in rows] == [row.path.replace(str(tmp_path), bucket) for row in local]
    assert [(row.line, row.fields) for row in rows] == [(row.line, row.fields) for row in local]
    assert [row.id for row in rows] == [path_id(row.path) for row in rows]
    assert open_source(bucket, limit=2).total == 2

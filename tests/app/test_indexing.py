"""The page indexes a folder and follows its changes; the tests wait in real time."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.indexing import indexing_routes
from app.application import build_app
from app.indexer import Indexer, Job
from app.library import Library
from app.media import Thumbnails
from app.proxies import TrustedProxies
from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
from tests.support.photos import draw_images


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of 24 images. Indexing writes its lists beside it."""
    monkeypatch.chdir(tmp_path)
    draw_images(tmp_path / "photos", 24)
    return tmp_path / "photos"


@pytest.fixture
def indexer(lite: Settings) -> Iterator[Indexer]:
    indexer = Indexer(lite)
    yield indexer
    indexer.close()


def paths_of(settings: Settings) -> dict[str, int]:
    """Return path → id of every row."""
    collection = Collection(settings.uri, settings.collection)
    if not collection.exists():
        return {}
    return {row["path"]: row["id"] for rows in collection.scan("", ["path", "id"]) for row in rows}


def wait_for(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.2)


def job_of(indexer: Indexer) -> Job:
    (job,) = indexer.jobs()
    return job


@pytest.mark.long
def test_a_watched_folder_is_followed(folder: Path, indexer: Indexer, lite: Settings) -> None:
    indexer.add(str(folder), watch=True)
    files = sorted(folder.iterdir())
    wait_for(lambda: len(paths_of(lite)) == 24)
    wait_for(lambda: job_of(indexer).state == "done")
    moved_id = paths_of(lite)[str(files[0])]

    (folder / "new").mkdir()
    files[0].rename(folder / "new" / files[0].name)
    files[1].unlink()
    shutil.copy(files[2], folder / "copy.jpg")
    expected = {str(path) for path in folder.rglob("*") if path.is_file()}

    wait_for(lambda: set(paths_of(lite)) == expected)
    assert paths_of(lite)[str(folder / "new" / files[0].name)] == moved_id


@pytest.mark.long
def test_a_file_is_read_once_it_is_complete(
    folder: Path, indexer: Indexer, lite: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexer.add(str(folder), watch=True)
    wait_for(lambda: len(paths_of(lite)) == 24)
    monkeypatch.setattr("app.indexer.REST_SECONDS", 6.0)  # longer than any pause while the file is written
    content = next(folder.iterdir()).read_bytes() + bytes(range(256))  # unlike any other file
    slow = folder / "slow.jpg"
    with open(slow, "wb") as file:
        for start in range(0, len(content), len(content) // 8 + 1):
            file.write(content[start : start + len(content) // 8 + 1])
            file.flush()
            time.sleep(0.7)
            assert str(slow) not in paths_of(lite)
    wait_for(lambda: str(slow) in paths_of(lite))
    assert not Path("rejected.csv").exists()


@pytest.mark.long
def test_where_much_is_gone_nothing_is_removed(folder: Path, indexer: Indexer, lite: Settings) -> None:
    indexer.add(str(folder), watch=True)
    wait_for(lambda: len(paths_of(lite)) == 24)
    for path in sorted(folder.iterdir())[:3]:
        path.unlink()
    wait_for(lambda: "files that are gone: 3 of 24" in job_of(indexer).message)
    assert len(paths_of(lite)) == 24

    folder.rename(folder.with_name("elsewhere"))  # as if a disk were removed
    wait_for(lambda: job_of(indexer).state == "failed")
    assert len(paths_of(lite)) == 24


def test_only_this_machine_adds_images_from_anywhere(folder: Path, indexer: Indexer, lite: Settings) -> None:
    library, below, beside = Library(lite), {"source": str(folder)}, {"source": f"{folder}2"}

    def ask(client: str, add_below: list[str], source: dict[str, str] | None, **headers: str) -> Any:
        routes = indexing_routes(library, indexer, add_below)
        app = FastAPI()
        app.include_router(routes)
        app.add_middleware(TrustedProxies, networks=[])
        asking = TestClient(app, base_url="http://127.0.0.1:7860", client=(client, 1))
        if source is None:
            return asking.get("/api/indexing").json()["may_add"]
        return asking.post("/api/indexing", json=source, headers=headers).status_code

    here, other = "127.0.0.1", "192.0.2.1"
    assert ask(here, [str(folder)], beside) == 404  # allowed, but the folder does not exist
    assert ask(here, [str(folder)], beside, **{"X-Forwarded-For": "10.0.0.1"}) == 403
    assert ask(here, [str(folder)], beside, Origin="http://evil.example") == 403
    assert ask(other, [str(folder)], beside) == ask(other, [], below) == 403
    assert ask(other, [str(folder)], {"source": f"{folder}/.."}) == 403
    assert ask(other, [str(folder)], {"source": "https://example.org/a.csv"}) == 403
    assert not indexer.jobs()
    assert [ask(here, [], None), ask(other, [], None), ask(other, [str(folder)], None)] == [True, False, True]
    assert ask(other, [str(folder)], below) == 200
    assert [job.source for job in indexer.jobs()] == [str(folder)]


@pytest.mark.long
def test_what_somebody_adds_is_found(folder: Path, indexer: Indexer, lite: Settings) -> None:
    library = Library(lite)
    routes = indexing_routes(library, indexer, [str(folder)])
    app = build_app(library, thumbnails=Thumbnails(folder.parent / "thumbs"), indexing=routes)
    with TestClient(app, base_url="http://127.0.0.1:7860") as other:
        assert other.post("/api/indexing", json={"source": str(folder)}).json()["jobs"][0]["source"] == str(folder)
        wait_for(lambda: len(other.get("/api/search?q=a+square&k=50").json().get("hits", ())) == 24, 240)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_changes_during_searches_end_as_a_fresh_index(
    folder: Path, indexer: Indexer, lite: Settings
) -> None:
    draw_images(folder / "more", 400)
    library, random = Library(lite), Random(7)
    indexer.add(str(folder), watch=True)
    wait_for(lambda: len(paths_of(lite)) == 424, 300)
    stop, failed = threading.Event(), []

    def search() -> None:
        while not stop.wait(0.1):
            try:
                library.searcher().by_text("a red square", 24)
            except Exception as error:
                failed.append(error)

    users = [threading.Thread(target=search, daemon=True) for _ in range(8)]
    for user in users:
        user.start()
    for number in range(1_000):
        files = sorted(path for path in folder.rglob("*.jpg"))
        change(random, files, folder, number)
    expected = {str(path) for path in folder.rglob("*.jpg")}
    wait_for(lambda: set(paths_of(lite)) == expected, 300)
    stop.set()
    for user in users:
        user.join()

    assert not failed
    wait_for(lambda: job_of(indexer).state == "done")
    fresh = replace(lite, uri=str(folder.parent / "fresh.db"))
    run_insert(folder, fresh)
    followed, new = ({row["path"]: row for row in rows_of(settings)} for settings in (lite, fresh))
    assert followed.keys() == new.keys()
    assert all(followed[path][name] == new[path][name] for path in new for name in ("_hash", "_source", "label"))
    for path in new:
        np.testing.assert_allclose(followed[path]["embedding"], new[path]["embedding"], atol=2e-2)


def change(random: Random, files: list[Path], folder: Path, number: int) -> None:
    """Copy a file slowly, rename one or delete one, so that a tenth of the folder is never gone at once."""
    one = random.choice(files)
    kind = random.choices(["copy", "rename", "delete"], [6, 3, 1])[0]
    if kind == "rename":
        one.rename(one.with_name(f"renamed-{number}.jpg"))
    elif kind == "delete":
        one.unlink()
    else:
        content = one.read_bytes()
        with open(folder / f"copied-{number}.jpg", "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(0.03)
            file.write(content[len(content) // 2 :] + number.to_bytes(4, "big"))


def rows_of(settings: Settings) -> list[dict[str, Any]]:
    collection = Collection(settings.uri, settings.collection)
    names = ["path", "label", "embedding", "_hash", "_source"]
    return [row for rows in collection.scan("", names) for row in rows]

"""Failures around Milvus: killed runs, a killed server, a full disk, damaged index files, each reported in one line."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, Summary, run_insert
from pipelines.errors import SearchError, StoreFull, StoreRefused, StoreUnavailable
from pipelines.milvus import lite as disk
from pipelines.milvus.calls import call
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.index_build import build_index
from tests.support.insert import all_rows, collection_of, did, distinct_copies, vectors
from tests.support.photos import Photos, write_csv
from tests.support.prepared import QUIET, Fork, PreparedProgram
from tests.support.program import CommandResult, free_port, program_env


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start_insert(program: PreparedProgram, source: Path, settings: Settings, *more: str) -> Fork:
    """Start an insert, and wait until it has written rows. It has locked a Lite file, so the size of that tells."""
    options = ["--uri", settings.uri, "--collection", settings.collection, "--model", "builtin", *more]
    process = program.start(["insert", str(source), *options], source.parent, source.parent, program_env(QUIET))
    collection, files = collection_of(settings), Path(settings.uri)

    def has_rows() -> bool:
        if settings.uri.startswith("http"):
            return collection.exists() and bool(collection.count())
        return sum(file.stat().st_size for file in files.rglob("*") if file.is_file()) > 100_000

    wait_for(has_rows)
    return process


def test_killed_runs_lose_and_double_nothing(
    settings: Settings, photos: Photos, tmp_path: Path, prepared_program: PreparedProgram
) -> None:
    """Runs are killed at random points while images change; then ids and vectors are those of a clean run."""
    paths = distinct_copies(photos.paths[0], tmp_path / "many", 400)
    source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
    for kill in range(3 if not settings.uri.startswith("http") else 1):
        process = start_insert(prepared_program, source, settings)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        paths[kill].write_bytes(photos.paths[5].read_bytes() + b"%d" % kill)
    run_insert(source, settings)
    clean = Settings(uri=str(tmp_path / "clean.db"), model="builtin")
    run_insert(source, clean)
    after, wanted = vectors(settings), vectors(clean)
    assert after.keys() == wanted.keys()
    assert collection_of(settings).count() == 400
    assert min(float(after[key] @ wanted[key]) for key in wanted) > 0.999
    close(clean.uri)


def test_a_second_ctrl_c_ends_it_at_once(
    lite: Settings, photos: Photos, tmp_path: Path, prepared_program: PreparedProgram
) -> None:
    """It does not wait for what is in flight, and the next run goes on from there."""
    paths = distinct_copies(photos.paths[0], tmp_path / "many", 1200)
    source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
    process = start_insert(prepared_program, source, lite, "--batch-size", "400")  # seconds of work in flight
    process.send_signal(signal.SIGINT)
    finishing = "finishing the images in hand; press Ctrl-C again to exit immediately\n"
    wait_for(lambda: (tmp_path / "err").read_text() == finishing)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert (tmp_path / "err").read_text() == f"{finishing}interrupted: run the same command again to go on\n"
    assert did(run_insert(source, lite, limit=50))["unchanged"] == 50


class Relay:
    """A TCP relay in front of Milvus that can be cut."""

    def __init__(self, uri: str) -> None:
        host, port = uri.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._refuse = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """End every connection, and refuse new ones for this many seconds."""
        self._refuse = True
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()
        time.sleep(seconds)
        self._refuse = False

    def close(self) -> None:
        self._listener.close()
        self.cut(0)

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            if self._refuse:
                here.close()
                continue
            there = socket.create_connection(self._target)
            self._open += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            end.close()


@pytest.fixture
def relay(milvus_server: str) -> Iterator[Relay]:
    relay = Relay(milvus_server)
    yield relay
    close(relay.uri)
    relay.close()


def test_a_connection_lost_again_and_again_loses_and_doubles_nothing(
    relay: Relay, photos: Photos, tmp_path: Path
) -> None:
    paths = distinct_copies(photos.paths[0], tmp_path / "many", 600)
    source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
    settings = Settings(uri=relay.uri, collection=f"cut_{os.getpid()}_{time.time_ns()}", model="builtin")
    cuts = 0

    def cut(summary: object, total: int) -> None:
        nonlocal cuts
        if cuts < 4:
            cuts += 1
            relay.cut(0.5)

    summary = run_insert(source, Settings(**{**settings.__dict__, "batch_size": 64}), on_progress=cut)
    assert cuts == 4
    assert did(summary) == {"inserted": 600}
    assert sorted(all_rows(settings)) == list(range(600))
    assert collection_of(settings).count() == 600


@pytest.mark.long
def test_a_full_disk_is_one_line_and_nothing_acknowledged_is_lost(
    lite: Settings, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = distinct_copies(photos.paths[0], tmp_path / "many", 400)
    source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
    enough = disk.MIN_FREE_BYTES

    def fill(summary: Summary, total: int) -> None:
        if summary.inserted:
            monkeypatch.setattr(disk, "MIN_FREE_BYTES", 1 << 60)

    with pytest.raises(StoreFull, match=r"only [\d,]+ MB are free under .*run the same command again"):
        run_insert(source, lite, on_progress=fill)
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", enough)
    stored = collection_of(lite).count()
    assert 0 < stored < 400
    assert did(run_insert(source, lite)) == {"inserted": 400 - stored, "unchanged": stored}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a small disk can be mounted by root only")
def test_a_disk_that_fills_under_milvus_lite(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite itself meets the full disk: that write fails, and nothing more is written until it is reopened."""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True)
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr(disk, "MIN_FREE_BYTES", 0)
        paths = distinct_copies(photos.paths[0], tmp_path / "many", 4000)
        source = write_csv(tmp_path / "many.csv", ["id", "path"], list(enumerate(paths)))
        settings = Settings(uri=str(small / "s.db"), model="builtin")
        counted = 0

        def note(summary: Summary, total: int) -> None:
            nonlocal counted
            counted = summary.inserted

        with pytest.raises(StoreFull, match=r"the disk .*full"):
            run_insert(source, settings, on_progress=note)
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        assert collection_of(settings).count() >= counted > 0
        summary = run_insert(source, settings)
        assert summary.inserted + summary.unchanged == 4000
        assert collection_of(settings).count() == 4000
    finally:
        close(str(small / "s.db"))
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_after_a_failed_write_nothing_is_written_until_it_is_opened_again(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    with pytest.raises(StoreFull, match="Errno 28"), disk.writing(lite.uri):
        raise StoreFull("[Errno 28] No space left on device")
    with pytest.raises(StoreFull, match="is full"):
        collection_of(lite).delete([1])
    close(lite.uri)
    collection_of(lite).delete([1])
    assert collection_of(lite).count() == 11


@pytest.mark.long
@pytest.mark.parametrize("damage", [b"", b"half of an ind"])
def test_a_damaged_index_file_is_built_again(lite: Settings, photos: Photos, damage: bytes) -> None:
    run_insert(photos.csv, lite)
    close(lite.uri)
    files = list(Path(lite.uri).glob("collections/*/partitions/*/indexes/*"))
    assert files
    for file in files:
        file.write_bytes(damage)
    assert Searcher(lite).by_image(str(photos.paths[3]), limit=1).hits[0].id == 3
    assert did(run_insert(photos.csv, lite)) == {"unchanged": 12}


def test_an_index_that_is_there_already_is_success(lite: Settings, photos: Photos) -> None:
    """A build of minutes breaks the call; when the call is repeated, Milvus answers that the index exists."""
    run_insert(photos.csv, lite)
    collection = collection_of(lite)
    build_index(collection.client, collection.name, collection.index)
    assert collection.count() == 12


def test_a_call_is_repeated_until_the_deadline() -> None:
    from pymilvus.exceptions import MilvusException

    tries = 0

    def unreachable() -> None:
        nonlocal tries
        tries += 1
        raise MilvusException(2, "Fail connecting to server")

    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match="Fail connecting"):
        call(unreachable, deadline=1)
    assert 1 <= time.monotonic() - start < 10
    assert tries > 2


def test_a_collection_that_is_not_loaded_yet_is_waited_for(milvus_server: str, photos: Photos) -> None:
    """A restarted server answers before it has loaded its collections."""
    settings = Settings(uri=milvus_server, collection=f"later_{time.time_ns()}", model="builtin")
    run_insert(photos.csv, settings)
    searcher = Searcher(settings)
    assert searcher.by_image(photos.paths[3], 1).hits[0].id == 3
    searcher.collection.client.release_collection(settings.collection)
    asked = threading.Event()

    def load() -> None:
        asked.set()
        # This returns a while after the server can search.
        searcher.collection.client.load_collection(settings.collection)

    later = threading.Timer(1.5, load)
    later.start()
    assert searcher.by_image(photos.paths[4], 1).hits[0].id == 4
    assert asked.is_set()
    later.join()


def unreadable_parquet(folder: Path) -> str:
    path = folder / "broken.db"
    settings = Settings(uri=str(path), model="builtin")
    Collection(settings.uri, "images").create(4, ())
    row = {"id": 1, "path": "x", "_mtime_ns": 0, "_size": 0, "_model": "m", "_hash": "", "_source": ""}
    Collection(settings.uri, "images").upsert([{**row, "embedding": np.ones(4, np.float32)}])
    Collection(settings.uri, "images").flush()
    close(settings.uri)
    (data,) = path.glob("collections/images/partitions/*/data/*.parquet")
    data.write_bytes(data.read_bytes()[:100])
    return str(path)


def text_file(folder: Path) -> str:
    (folder / "text.db").write_text("no database")
    return str(folder / "text.db")


def plain_folder(folder: Path) -> str:
    (folder / "file").write_text("")
    return str(folder / "file" / "search.db")


@pytest.mark.long
@pytest.mark.parametrize(
    ("make_uri", "message"),
    [
        (text_file, "is no Milvus Lite database; move it away"),
        (plain_folder, "choose another file"),
        (lambda folder: str(folder / "search"), "ending in .db"),
        (lambda folder: f"http://127.0.0.1:{free_port()}", "is it running, and is the address right?"),
        (lambda folder: f"https://127.0.0.1:{free_port()}", "is it running, and is the address right?"),
        (lambda folder: "http://no.such.host.invalid:19530", "is it running, and is the address right?"),
        (unreadable_parquet, "broken.db"),
    ],
)
def test_each_failure_is_one_line(
    photos: Photos, tmp_path: Path, make_uri: Callable[[Path], str], message: str
) -> None:
    with pytest.raises(SearchError, match=r"^[^\n]+$") as caught:
        run_insert(photos.csv, Settings(uri=make_uri(tmp_path), model="builtin"))
    assert message in str(caught.value)


def test_a_server_without_tls_or_without_that_database(
    milvus_server: str, quick_command: Callable[..., CommandResult]
) -> None:
    no_tls = quick_command("info", "--uri", milvus_server.replace("http:", "https:"))
    assert (no_tls.status, no_tls.err.count("\n")) == (3, 1)
    assert "https:// is for a server with TLS" in no_tls.err
    no_database = quick_command("info", "--uri", f"{milvus_server}/no_such_database")
    assert (no_database.status, no_database.err.count("\n")) == (3, 1)
    assert "database not found" in no_database.err


def test_a_wrong_token_is_named_as_one() -> None:
    """pymilvus reports it as a failed connection, raised from the server's refusal."""
    import grpc
    from pymilvus.exceptions import MilvusException

    class Refusal(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAUTHENTICATED

    def refused() -> None:
        raise MilvusException(2, "Fail connecting to server on 127.0.0.1:19530") from Refusal()

    with pytest.raises(StoreRefused, match="the right token"):
        call(refused, deadline=5)


def test_a_command_that_fails_prints_one_line(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    done = quick_command("insert", photos.csv, "--uri", unreadable_parquet(tmp_path), "--model", "builtin")
    assert (done.status, done.err.count("\n")) == (3, 1)
    assert done.err.startswith("error: ")

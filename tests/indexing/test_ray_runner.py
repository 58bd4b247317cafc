"""Shards on a real Ray cluster of one machine store what a plain run stores, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from benchmarks.milvus_server import MilvusServer
from pipelines import Settings
from pipelines.errors import InputError
from pipelines.indexing.ray_runner import Cluster, _run_shard, run_on_ray
from pipelines.indexing.summary import Summary, add_up
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.milvus.vector_folder import VectorFolder
from tests.support.insert import all_rows, collection_of, distinct_copies, read_rejects, vectors
from tests.support.milvus_server import QUICK, require_milvus
from tests.support.photos import Photos
from tests.support.program import HEEDING_CTRL_C, CommandResult, program_env
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra: pip install ray")
Command = Callable[..., CommandResult]
ON_RAY = ("--model", "builtin", "--runner", "ray", "--shards", "3")


def rows_of(folder: Path) -> dict[int, np.ndarray]:
    """Return the embeddings by id; check that no id is there twice."""
    files = VectorFolder(folder)
    rows = [row for part in files.scan("", ["embedding"]) for row in part]
    assert len({row["id"] for row in rows}) == len(rows) == files.count()
    return {row["id"]: row["embedding"] for row in rows}


def test_summaries_add_up() -> None:
    first = Summary("photos", "images", "m@1", notes=["a"], runtime="cpu")
    parts = [
        Summary("photos", "images", "m@1", rows=2, inserted=1, rejected=1, changed={"year": 1}, notes=["a", "b"])
    ] * 2
    total = add_up(first, [*parts, Summary("photos", "images", "m@1", rows=1, unlisted={"/x": "no permission"})])
    assert (total.rows, total.inserted, total.rejected, total.changed) == (5, 2, 2, {"year": 2})
    assert (total.notes, total.unlisted, total.runtime) == (["a", "b"], {"/x": "no permission"}, "cpu")


def test_what_cannot_be_spread_is_refused(photos: Photos, tmp_path: Path, command: Command) -> None:
    with pytest.raises(InputError, match="belongs to one process"):
        run_on_ray(str(photos.csv), Settings(uri=str(tmp_path / "a.db")), Cluster(2))
    nobody = Cluster(2, "127.0.0.1:9")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        run_on_ray(str(photos.csv), Settings(), nobody, to=str(tmp_path / "vectors"))
    refused = command("insert", photos.csv, "--to", "vectors", *ON_RAY, "--limit", "3")
    assert (refused.status, refused.err) == (2, "error: --limit does not go with --runner ray: run it without\n")


@pytest.mark.slow
def test_a_run_on_ray_equals_a_plain_one(command: Command, photos: Photos, tmp_path: Path) -> None:
    """One summary, one list of rejected images, clean JSON; a second run changes nothing."""
    photos.paths[0].write_bytes(b"no image")
    plain = command("insert", photos.csv, "--to", tmp_path / "plain", "--model", "builtin", "--rejects", "plain.csv")
    spread = command("insert", photos.csv, "--to", tmp_path / "ray", *ON_RAY, "--json", timeout=300)
    assert (plain.status, spread.status) == (1, 1), spread.err
    summary = json.loads(spread.out)
    assert (summary["rows"], summary["inserted"], summary["rejected"]) == (12, 11, 1)
    assert read_rejects(tmp_path / "cwd" / "rejected.csv") == read_rejects(tmp_path / "cwd" / "plain.csv")
    one, other = rows_of(tmp_path / "plain"), rows_of(tmp_path / "ray")
    assert one.keys() == other.keys()
    assert all(one[key] @ other[key] > 0.9999 for key in one)
    again = json.loads(command("insert", photos.csv, "--to", tmp_path / "ray", *ON_RAY, "--json", timeout=300).out)
    assert (again["unchanged"], again["rejected"]) == (11, 1)


@pytest.mark.slow
def test_a_wrong_table_ends_the_run_at_once(command: Command, tmp_path: Path) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text("id,path\n1,a.jpg\n1,b.jpg\n")
    done = command("insert", table, "--to", tmp_path / "ray", *ON_RAY, timeout=300)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert "id 1" in done.err


def start(source: Path, folder: Path, *target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEEDING_CTRL_C, "insert", str(source), *target, *ON_RAY, "--json"],
        cwd=folder, env=program_env({"RAY_worker_niceness": "0"}), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def workers(driver: int) -> list[int]:
    """Return the processes that run shards now and descend from the driver."""
    parents, names = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            names[int(status.parent.name)] = status.with_name("cmdline").read_text().partition("\0")[0]
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields["PPid"])

    def descends(pid: int) -> bool:
        return pid == driver or (pid in parents and descends(parents[pid]))

    return [pid for pid, name in names.items() if name.startswith("ray::_run_shard") and descends(pid)]


def wait_for_worker(run: subprocess.Popen[str]) -> int:
    for _ in range(600):
        if run.poll() is not None:
            pytest.fail(f"the run ended: {run.communicate()}")
        if found := workers(run.pid):
            return found[0]
        time.sleep(0.1)
    pytest.fail("no shard was started")


def wait_for_the_last_worker() -> None:
    """Wait for the workers of a killed driver, which end by themselves, but not at once."""
    for _ in range(100):
        if not workers(1):
            return
        time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "driver", "ctrl-c"])
def test_whatever_is_killed_every_row_is_there_once(
    victim: str, photos: Photos, tmp_path: Path, command: Command
) -> None:
    distinct_copies(photos.paths[0], tmp_path / "many", 300)
    run = start(tmp_path / "many", tmp_path, "--to", str(tmp_path / "ray"))
    worker = wait_for_worker(run)
    if victim == "worker":
        os.kill(worker, signal.SIGKILL)
    else:
        time.sleep(3)
        run.send_signal(signal.SIGKILL if victim == "driver" else signal.SIGINT)
    out, err = run.communicate(timeout=240)
    expected = {"worker": 0, "driver": -signal.SIGKILL, "ctrl-c": 130}
    assert run.returncode == expected[victim], err
    if victim == "ctrl-c":
        assert json.loads(out)["interrupted"] is True
    if victim != "worker":
        wait_for_the_last_worker()
    again = command("insert", tmp_path / "many", "--to", tmp_path / "ray", *ON_RAY, "--json", timeout=300)
    summary = json.loads(again.out)
    assert (again.status, summary["rows"]) == (0, 300), again.err
    assert summary["unchanged"] == 300 or victim != "worker"
    assert len(rows_of(tmp_path / "ray")) == 300


@pytest.mark.slow
def test_shards_share_a_server(command: Command, photos: Photos, milvus_server: str) -> None:
    settings = Settings(uri=milvus_server, collection=f"ray_{os.getpid()}")
    to_server = ("--uri", milvus_server, "--collection", settings.collection)
    done = command("insert", photos.csv, *to_server, *ON_RAY, timeout=300)
    assert (done.status, done.err) == (0, "")
    assert len(all_rows(settings)) == 12
    assert "12 unchanged" in command("insert", photos.csv, *to_server, "--model", "builtin").out
    assert command("drop", *to_server, "--yes").status == 0


def wait_until(begun: Callable[[], object], run: subprocess.Popen[str]) -> None:
    wait_for_worker(run)
    while not begun():
        if run.poll() is not None:
            pytest.fail(f"the run ended: {run.communicate()}")
        time.sleep(0.05)


def has_rows(collection: Collection) -> bool:
    return collection.exists() and collection.count() > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_on_a_server_whatever_is_killed_the_rows_are_those_of_a_plain_run(
    victim: str, photos: Photos, tmp_path: Path, command: Command, milvus_server: str
) -> None:
    many = tmp_path / "many"
    distinct_copies(photos.paths[0], many, 600)
    settings = Settings(uri=milvus_server, collection=f"ray_{victim}_{os.getpid()}")
    target = ("--uri", settings.uri, "--collection", settings.collection, "--batch-size", "4")
    run = start(many, tmp_path, *target)
    wait_until(lambda: has_rows(collection_of(settings)), run)
    os.kill(run.pid if victim == "driver" else workers(run.pid)[0], signal.SIGKILL)
    _, err = run.communicate(timeout=600)
    assert run.returncode == (-signal.SIGKILL if victim == "driver" else 0), err
    if victim == "driver":
        wait_for_the_last_worker()
        assert 0 < collection_of(settings).count() < 600
        assert command("insert", many, *target, *ON_RAY, timeout=300).status == 0
    assert_plain(settings, many, tmp_path, command)


def assert_plain(settings: Settings, many: Path, tmp_path: Path, command: Command) -> None:
    """Check that a collection equals that of a plain run, and drop it."""
    assert command("insert", many, "--to", tmp_path / "plain", "--model", "builtin", timeout=300).status == 0
    found, plain = vectors(settings), rows_of(tmp_path / "plain")
    assert collection_of(settings).count() == len(plain)  # each id once: `vectors` would hide a second one
    assert found.keys() == plain.keys()
    assert all(found[key] @ plain[key] > 0.9999 for key in plain)
    collection_of(settings).drop()


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
def test_a_run_goes_on_when_its_server_is_back(photos: Photos, tmp_path: Path, command: Command) -> None:
    require_milvus()
    many = tmp_path / "many"
    distinct_copies(photos.paths[0], many, 200)
    with MilvusServer(tmp_path, {**QUICK, "COMMON_SESSION_TTL": "10"}) as server:  # seconds until it forgets old parts
        settings = Settings(uri=server.uri)
        collection = collection_of(settings)
        run = start(many, tmp_path, "--uri", settings.uri, "--batch-size", "4")
        for begun in (collection.exists, lambda: has_rows(collection)):
            wait_until(begun, run)
            server.kill()
            server.start()
        assert 0 < collection.count() < 200
        out, err = run.communicate(timeout=600)
        assert (run.returncode, json.loads(out)["inserted"]) == (0, 200), err
        assert_plain(settings, many, tmp_path, command)
        close(settings.uri)


def test_a_shard_that_begins_while_the_server_is_away_waits_for_it(photos: Photos, proxy: TcpProxy) -> None:
    settings = Settings(uri=f"http://127.0.0.1:{proxy.port}", collection=f"away_{os.getpid()}", model="builtin")
    proxy.close()
    back = threading.Timer(8, proxy.open)
    back.start()
    report = _run_shard(Mock(), "1/2", str(photos.csv), settings, {"to": ""}, None)
    back.join()
    assert 0 < report.summary.inserted < 12
    collection_of(settings).drop()

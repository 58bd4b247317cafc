"""Fixtures that several test files share. Everything real: Milvus Lite, a Milvus server, photographs, processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from pipelines import Settings
from pipelines.milvus.connection import close_all

# Several workers share the cores: threads of one model's small steps would wait for each other at every operation.
# Here, and not in a fixture, because it is read when PyTorch is first imported; programs that tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["browser_support"]  # of which the session has one running page

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


# Begun first, or one worker would be left alone with them at the end.
LONG_FILES = ("test_scale.py", "test_page.py", "test_durability.py", "test_rerun.py", "test_cli.py", "test_training.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which files are handed to the workers (which are told not to sort them by number of tests)."""
    places = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of small steps wait for each other at every operation: beside other work, one is far quicker."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("IMAGE_SEARCH_")]:
        monkeypatch.delenv(name)


def require_or_skip(variable: str, reason: str) -> None:
    """Skips a test whose real counterpart is absent; CI sets the variable, and then it fails."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_csv() -> Path:
    """The tutorial's 1,000 photographs, where the developers' data folder lies beside the repository."""
    path = SHARED / "reverse_image_search" / "reverse_image_search.csv"
    if not path.exists():
        pytest.skip("the evaluation photographs are not here (a developers' data folder, no part of the product)")
    return path


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Milvus server: a 2.3.5 started for this session, or the one named by MILVUS_URI."""
    if os.environ.get("MILVUS_URI"):
        yield os.environ["MILVUS_URI"]
        return
    program = os.environ.get("MILVUS_SERVER") or shutil.which("milvus-server")
    program = program or str(ROOT / ".venv-milvus" / "bin" / "milvus-server")
    if not os.path.exists(program):
        require_or_skip("REQUIRE_MILVUS", "no milvus-server here: make .venv-milvus/bin/milvus-server")
    server = SharedServer(program, shared_folder(tmp_path_factory))
    address = server.enter()
    try:
        yield address
    finally:
        close_all()
        server.leave()


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


class SharedServer:
    """One Milvus server for all workers of a run: the first starts it, the last one out stops it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._lock = FileLock(folder / "milvus.lock", timeout=280)
        self._state = folder / "milvus.json"

    def enter(self) -> str:
        """Starts the server where nobody has; returns its address."""
        with self._lock:
            state = json.loads(self._state.read_text()) if self._state.exists() else self._start()
            self._state.write_text(json.dumps({**state, "users": state["users"] + 1}))
        return str(state["uri"])

    def leave(self) -> None:
        """Stops the server where nobody else needs it."""
        with self._lock:
            state = json.loads(self._state.read_text())
            state["users"] -= 1
            if state["users"]:
                self._state.write_text(json.dumps(state))
                return
            self._state.unlink()
            os.killpg(state["pid"], signal.SIGKILL)  # the program is a wrapper: its child is the server

    def _start(self) -> dict[str, Any]:
        port = _free_port()
        uri, log = f"http://127.0.0.1:{port}", self._folder / "milvus.log"
        with open(log, "w") as output:
            server = subprocess.Popen(
                [self._program, "--data", str(self._folder / f"milvus-{port}"), "--proxy-port", str(port)],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            _wait_for_milvus(uri, server, log)
        except BaseException:
            os.killpg(server.pid, signal.SIGKILL)
            raise
        return {"uri": uri, "pid": server.pid, "users": 0}


def _wait_for_milvus(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    from pymilvus import MilvusClient

    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"milvus-server ended: {log.read_text()[-500:]}")
        try:
            MilvusClient(uri, timeout=5).list_collections(timeout=5)
            return
        except Exception:  # not up yet: refused, timed out, "not ready"
            time.sleep(1)
    pytest.fail(f"milvus-server does not answer: {log.read_text()[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["lite", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A Milvus: once a Lite file, once a server."""
    if request.param == "lite":
        yield str(tmp_path / "search.db")
        close_all()
    else:
        yield request.getfixturevalue("milvus_server")


@pytest.fixture
def settings(uri: str) -> Settings:
    """The small model and a collection of this test's own, on Milvus Lite and on a server."""
    return Settings(uri=uri, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Settings]:
    """The small model and a Milvus Lite file of this test's own."""
    yield Settings(uri=str(tmp_path / "search.db"), model="builtin")
    close_all()


class Photos(NamedTuple):
    """A folder of pictures and the CSV that lists them."""

    folder: Path
    csv: Path
    paths: list[Path]


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Twelve distinct pictures with id, path, label, year."""
    folder = tmp_path / "photos"
    paths = draw_pictures(folder, 12)
    rows = [[number, f"photos/{path.name}", f"label{number % 3}", 2010 + number] for number, path in enumerate(paths)]
    table = write_csv(tmp_path / "photos.csv", ["id", "path", "label", "year"], rows)
    return Photos(folder, table, paths)


def draw_pictures(folder: Path, count: int, size: tuple[int, int] = (96, 72)) -> list[Path]:
    """Distinct colour pictures, smooth enough for JPEG to keep them distinct."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"{number:05}.jpg")
        coarse.resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """A CSV in UTF-8."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


class CommandResult(NamedTuple):
    """How a command of the program ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., CommandResult]:
    """Runs `python -m pipelines …` as a user would, in an empty folder."""

    def run(*arguments: object, env: dict[str, str] | None = None, timeout: float = 120) -> CommandResult:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *map(str, arguments)],
            cwd=folder, env=program_env(env), capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


def program_env(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a program run by a test: this repository on the path, no settings of the user's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMAGE_SEARCH_")}
    return {**clean, "PYTHONPATH": str(ROOT), **(extra or {})}


def run_code(code: str, *arguments: object, timeout: float = 60) -> CommandResult:
    """Runs Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=program_env(), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    return CommandResult(done.returncode, done.stdout, done.stderr)


# A background job's programs ignore Ctrl-C, and so would this one. Not by `preexec_fn`: that forks, and a child of a
# process with gRPC's threads ends now and then before it begins (SIGABRT, or a line of gRPC's on stderr).
HEEDING_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('pipelines', run_name='__main__', alter_sys=True)"
)


def start_program(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python -m pipelines …` in a folder, running, to which Ctrl-C can be sent."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HEEDING_CTRL_C, *arguments],
        cwd=folder, env=program_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

"""Fixtures that several test files share. Milvus Lite, the Milvus server, photographs and processes are real."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from urllib.parse import urlsplit

import pytest

from pipelines import Settings
from pipelines.fields import Field
from pipelines.milvus.collection import Collection
from pipelines.milvus.column_reader import read_columns
from pipelines.milvus.connection import close, close_all
from tests.support.milvus_server import SharedServer, require_milvus, shared_folder
from tests.support.photos import Photos, draw_photos
from tests.support.prepared import PreparedProgram
from tests.support.program import ROOT, CommandResult, program_env
from tests.support.tcp_proxy import TcpProxy

# pytest-xdist workers share the cores, so threads of a small model would wait for each other at every operation.
# PyTorch reads this variable at its first import, and programs that the tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.support.browser", "tests.support.remote"]  # fixtures of the page, its browser and remote files

SHARED = ROOT.parent / "shared" / "data"

# Fixtures that start the program in a separate process.
PROGRAM_FIXTURES = {"command", "prepared_program", "programs", "site", "wheel", "installed"}


def starts_process(function: object, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether a function, or a function of tests or benchmarks that it calls, uses `subprocess`."""
    if not isinstance(function, FunctionType) or not function.__module__.startswith(("tests", "benchmarks")):
        return False
    names = names_of(function.__code__)
    called = (function.__globals__.get(name) for name in names - seen)
    return "subprocess" in names or any(starts_process(other, seen | names) for other in called)


def names_of(code: CodeType) -> set[str]:
    """Return the global names that a function uses, including those of the functions inside it."""
    inner = (names_of(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a Milvus server, a browser, the program or other projects' models."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if PROGRAM_FIXTURES.intersection(fixtures) or starts_process(getattr(item, "function", None)):
            item.add_marker("program")
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "milvus_server" in fixtures or "server" in parameters:
            item.add_marker("server")
        if "browser" in fixtures:
            item.add_marker("browser")
        if "torchvision" in fixtures:
            item.add_marker("long")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: beside other work, small steps run far faster without threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def torchvision() -> None:
    """Import torchvision, which transformers, open_clip and other reference packages need: four seconds of CPU time."""
    from recipes.torchvision_compat import import_torchvision

    import_torchvision()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("IMAGE_SEARCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_csv() -> Path:
    """Return the CSV of the tutorial's 1,000 photographs; skip if the developers' data folder is missing."""
    path = SHARED / "reverse_image_search" / "reverse_image_search.csv"
    if not path.exists():
        pytest.skip("the evaluation photographs are not here (a developers' data folder, no part of the product)")
    return path


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real Milvus server: Milvus 2.3.5, started for this session, or the one in MILVUS_URI."""
    if os.environ.get("MILVUS_URI"):
        yield os.environ["MILVUS_URI"]
        return
    require_milvus()
    server = SharedServer(shared_folder(tmp_path_factory))
    address = server.enter()
    try:
        yield address
    finally:
        close_all()
        server.leave()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that reading a server's columns waits for, after it has reported three rows of nine."""
    go = threading.Event()

    def read(collection: Collection, fields: tuple[Field, ...], on_progress: Callable[[int, int], None]) -> object:
        on_progress(3, 9)
        assert go.wait(120)
        return read_columns(collection, fields, on_progress)

    monkeypatch.setattr("pipelines.search.catalog.read_columns", read)
    return go


@pytest.fixture(params=["lite", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URI of a Milvus Lite file, then of a server."""
    if request.param == "lite":
        yield str(tmp_path / "search.db")
        close_all()
    else:
        yield request.getfixturevalue("milvus_server")


@pytest.fixture
def settings(uri: str) -> Iterator[Settings]:
    """Return settings with the small model and a new collection, on Milvus Lite and then on a server."""
    settings = Settings(uri=uri, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    yield settings
    drop(settings)


@pytest.fixture(scope="module", params=["lite", "server"])
def module_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return such settings for a collection that the tests of a module share, because none changes it."""
    on_lite = request.param == "lite"
    uri = str(tmp_path_factory.mktemp("shared") / "s.db") if on_lite else request.getfixturevalue("milvus_server")
    settings = Settings(uri=uri, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    yield settings
    drop(settings)
    if on_lite:
        close(uri)


def drop(settings: Settings) -> None:
    """Drop the collection on a server: every loaded collection costs the server work, even if no test uses it."""
    collection = Collection(settings.uri, settings.collection)
    if settings.uri.startswith("http") and collection.exists():
        collection.drop()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Settings]:
    """Return settings with the small model and a new Milvus Lite file."""
    yield Settings(uri=str(tmp_path / "search.db"), model="builtin")
    close_all()


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Draw twelve distinct images and list them in a CSV with id, path, label, year."""
    return draw_photos(tmp_path)


@pytest.fixture(scope="module")
def module_photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Draw the same images for the tests of a module, none of which changes them."""
    return draw_photos(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., CommandResult]:
    """Run `image-search …` as a user would, in an empty folder."""

    def run(*arguments: object, env: dict[str, str] | None = None, timeout: float = 120) -> CommandResult:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *map(str, arguments)],
            cwd=folder, env=program_env(env), capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def prepared_program() -> Iterator[PreparedProgram]:
    """Return a program that runs commands without importing their libraries again."""
    program = PreparedProgram()
    yield program
    program.close()


@pytest.fixture
def quick_command(tmp_path: Path, prepared_program: PreparedProgram) -> Callable[..., CommandResult]:
    """Run `image-search …` in an empty folder, for tests of what a command does and not of its start."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> CommandResult:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        return prepared_program.run([str(argument) for argument in arguments], folder, env)

    return run


@pytest.fixture
def proxy(milvus_server: str) -> Iterator[TcpProxy]:
    """Return a proxy in front of the server, which a test can make vanish, hang and come back."""
    proxy = TcpProxy(urlsplit(milvus_server).port or 0)
    yield proxy
    close(f"http://127.0.0.1:{proxy.port}")
    proxy.close()

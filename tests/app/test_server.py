"""Starting the page: how quickly it answers, and its one-line errors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.library import Library
from app.server import _describe_contents, listen
from pipelines import Settings
from pipelines.errors import InputError
from tests.support.page import ROOT, environment, run_program


def test_help_loads_nothing_slow() -> None:
    done = run_program("-X", "importtime", "-m", "app", "--help")
    assert "--collection" in done.stdout
    for slow in ("gradio", "torch", "pymilvus", "numpy", "fastapi"):
        assert f" {slow}\n" not in done.stderr


def test_the_page_says_at_its_start_how_many_images_it_serves(library: Library) -> None:
    assert _describe_contents(library) == "Images in the collection 'images': 5"


def test_errors_are_one_line() -> None:
    done = run_program("-m", "app", "--port", "0", "--uri", "nothing.sqlite")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: 'nothing.sqlite' is no Milvus")


def test_taken_port_is_one_line() -> None:
    taken = listen("127.0.0.1", 0)
    with taken, pytest.raises(InputError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_no_answer_waits_for_a_delayed_acknowledgement() -> None:
    async def accepted_option() -> int:
        options: asyncio.Queue[int] = asyncio.Queue()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            await options.put(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            option = await options.get()
            writer.close()
        return option

    assert asyncio.run(accepted_option()) != 0


@pytest.mark.parametrize(
    ("auth", "warned"), [({}, True), ({"IMAGE_SEARCH_AUTH": "a:b"}, False)]
)  # fmt: skip
def test_a_page_that_is_open_to_the_network_without_a_password_warns(
    tmp_path: Path, auth: dict[str, str], warned: bool
) -> None:
    command = [sys.executable, "-m", "app", "--host", "0.0.0.0", "--port", "0", "--uri", "x.sqlite"]
    done = subprocess.run(command, cwd=ROOT, env=environment(**auth), capture_output=True, text=True, timeout=60)
    assert ("IMAGE_SEARCH_AUTH=user:password" in done.stderr) == warned
    assert Settings().host == "127.0.0.1"


def test_half_sent_requests_take_neither_all_connections_nor_the_log(tmp_path: Path) -> None:
    command = f'ulimit -n 120; exec "{sys.executable}" -m app --port 0 --uri {tmp_path}/none.db'
    with (
        subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=environment(TMPDIR=str(tmp_path)), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as page,
        contextlib.ExitStack() as sockets,
    ):  # fmt: skip
        assert page.stdout is not None
        assert page.stderr is not None
        address = ("127.0.0.1", int(page.stdout.readline().split(" (")[0].rpartition(":")[2]))

        def send(data: bytes) -> socket.socket:
            one = sockets.enter_context(socket.create_connection(address, timeout=60))
            one.sendall(data)
            return one

        for _ in range(200):
            send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(5):
            assert send(b"nonsense\r\n\r\n").recv(12) == b"HTTP/1.1 400"
        assert send(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").recv(12) == b"HTTP/1.1 200"
        page.terminate()
        logged = page.stderr.read()
    assert "system resource" not in logged  # asyncio's words for descriptors: no connection was taken without one
    assert logged.count("Invalid HTTP request received") == 1
    assert len(logged) < 2_000, logged

"""Downloads, from a real server: whole and checked, continued after a cut, and never half a file under its name."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import ModelError
from pipelines.models.download import download
from pipelines.models.registry import BUILTIN, Weights
from pipelines.models.weights import locate

DATA = bytes(range(256)) * 8192  # 2 MB, so that a cut falls between two blocks
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA; what each request asked for is in `ranges`."""

    daemon_threads = True
    knows_ranges = True
    answer = 200
    cut_after = 0  # bytes, then the connection is closed
    slow = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/weights.pt"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.answer != 200:
            self.send_error(self.server.answer)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.knows_ranges else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.end_headers()
        end = self.server.cut_after or len(DATA)
        step = 1 << 16
        with contextlib.suppress(ConnectionError):
            for at in range(start, end, step):
                self.wfile.write(DATA[at : min(at + step, end)])
                if self.server.slow:
                    threading.Event().wait(0.05)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def refusal(url: str, target: Path, sha256: str = SHA256) -> str:
    """The one line with which a download fails; nothing is left under the file's own name."""
    with pytest.raises(ModelError) as caught:
        download(url, target, sha256)
    message = str(caught.value)
    assert "\n" not in message
    assert not target.exists()
    for part in (target.name, url, f"put it at {target}"):
        assert part in message
    return message


def test_a_file_is_fetched_into_the_cache_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(tmp_path / "new" / "cache"))
    spec = dataclasses.replace(BUILTIN, weights=Weights("weights.pt", server.url, SHA256))
    for _ in range(2):
        path = locate(spec)
        assert path == tmp_path / "new" / "cache" / "weights.pt"
        assert path.read_bytes() == DATA
    assert server.ranges == [None]
    assert not path.with_name("weights.pt.part").exists()


def test_an_interrupted_download_is_continued_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pt"
    server.cut_after = 1_500_000
    message = refusal(server.url, target)
    assert "the connection ended after 1,500,000 of 2,097,152 bytes" in message
    assert (tmp_path / "weights.pt.part").read_bytes() == DATA[:1_500_000]
    server.cut_after = 0
    download(server.url, target, SHA256)
    assert server.ranges == [None, "bytes=1500000-"]
    assert target.read_bytes() == DATA


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(b"old" * 1000)
    server.knows_ranges = False
    download(server.url, tmp_path / "weights.pt", SHA256)
    assert server.ranges == ["bytes=3000-"]
    assert (tmp_path / "weights.pt").read_bytes() == DATA


def test_a_part_that_is_whole_already_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(DATA)
    download(server.url, tmp_path / "weights.pt", SHA256)
    assert (tmp_path / "weights.pt").read_bytes() == DATA


@pytest.mark.parametrize("left_over", [b"", b"of another file", DATA + b"too long"])
def test_a_file_with_another_checksum_is_removed(left_over: bytes, server: Server, tmp_path: Path) -> None:
    part = tmp_path / "weights.pt.part"
    if left_over:
        part.write_bytes(left_over)
    wrong = SHA256 if left_over else "0" * 64
    assert "arrived damaged (SHA-256 " in refusal(server.url, tmp_path / "weights.pt", wrong)
    assert not part.exists()
    download(server.url, tmp_path / "weights.pt", SHA256)
    assert (tmp_path / "weights.pt").read_bytes() == DATA


@pytest.mark.parametrize(("answer", "words"), [(404, "the server answers 404 Not Found"), (503, "answers 503")])
def test_an_answer_that_is_no_file_is_reported(answer: int, words: str, server: Server, tmp_path: Path) -> None:
    server.answer = answer
    assert words in refusal(server.url, tmp_path / "weights.pt")


def test_a_closed_port_is_reported_with_the_way_out(server: Server, tmp_path: Path) -> None:
    server.server_close()
    assert "weights.pt cannot be downloaded (" in refusal(server.url, tmp_path / "weights.pt")


def test_an_unknown_host_is_reported(tmp_path: Path) -> None:
    assert "cannot be downloaded (" in refusal("http://no-such-host.invalid/weights.pt", tmp_path / "weights.pt")


def test_what_answers_without_http_is_reported(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/weights.pt"
        assert "cannot be downloaded (SSH-2.0" in refusal(url, tmp_path / "weights.pt")


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ModelError, match=r"cache/weights\.pt\.part cannot be written: (Not a directory|File exists)$"):
        download(server.url, tmp_path / "cache" / "weights.pt", SHA256)


def test_two_processes_at_once_fetch_one_whole_file(server: Server, tmp_path: Path) -> None:
    server.slow = True
    code = (
        "import sys, pathlib; from pipelines.models.download import download;"
        "download(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, server.url, os.fspath(tmp_path / "weights.pt"), SHA256]
    environment = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert (tmp_path / "weights.pt").read_bytes() == DATA
    assert server.ranges == [None], "both fetched it"
    assert any("another process is downloading weights.pt" in text for text in told)

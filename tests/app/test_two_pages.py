"""Two pages on one Milvus server answer alike, and each serves what the other has made."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
from tests.support.page import ROOT, environment
from tests.support.photos import draw_images, write_csv
from tests.support.program import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HOST = "photos.example"


class Pages(NamedTuple):
    """Two running pages, their ports, and a client of each."""

    processes: list[subprocess.Popen[str]]
    ports: list[int]
    clients: list[httpx.Client]


@pytest.fixture
def pages(milvus_server: str, tmp_path: Path) -> Iterator[Pages]:
    paths = draw_images(tmp_path / "photos", 12)
    rows = [[number, path, f"label{number % 3}"] for number, path in enumerate(paths, 1)]
    settings = Settings(uri=milvus_server, collection=f"pages_{uuid.uuid4().hex[:8]}", model="builtin")
    run_insert(write_csv(tmp_path / "photos.csv", ["id", "path", "label"], rows), settings)
    command = [sys.executable, "-m", "app", "--uri", milvus_server, "--collection", settings.collection, "--port", "0"]
    command += ["--trusted-proxy", "127.0.0.1", "--allowed-hosts", HOST]
    env = environment(IMAGE_SEARCH_CACHE=str(tmp_path / "cache"))
    with ExitStack() as stack:
        found = Pages([], [], [])
        for _ in range(2):
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)  # waits for its end
            stack.callback(process.terminate)
            found.processes.append(process)
        for process in found.processes:
            assert process.stdout is not None
            address = process.stdout.readline().split()[2]
            found.ports.append(int(address.rpartition(":")[2]))
            found.clients.append(stack.enter_context(httpx.Client(base_url=address, timeout=240)))
        yield found
    Collection(milvus_server, settings.collection).drop()


def ask(client: httpx.Client, **event: Any) -> dict[str, Any]:
    """Send an event of the page, and return the view that answers it."""
    session = uuid.uuid4().hex
    body = {"data": [], "event_data": {"turn": 1, **event}, "fn_index": 1, "session_hash": session}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    for line in client.get("/gradio_api/queue/data", params={"session_hash": session}).text.splitlines():
        message = json.loads(line.removeprefix("data: ") or "{}")
        if message.get("msg") == "process_completed":
            assert message["success"], message
            view: dict[str, Any] = message["output"]["data"][0]
            return view
    raise AssertionError("the event was not answered")


def upload(client: httpx.Client, image: Path) -> str:
    """Search for an image on the page; return the address of the search."""
    sent = client.post("/gradio_api/upload", files={"files": (image.name, image.read_bytes(), "image/jpeg")})
    view = ask(client, address="", path=sent.json()[0])
    found = re.search(r"\?image=[0-9a-f]{32}", json.dumps(view))
    assert found, {name: view.get(name) for name in ("kind", "problem", "message")}
    return found[0]


def timeless(value: Any) -> Any:
    """Return the value without the entries that depend on time."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in ("seconds", "age")}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def prepare_zip(client: httpx.Client) -> str:
    return f"/{client.post('/zip', data={'ids': '1,2,3'}).json()['address']}"


def names_in(answer: httpx.Response) -> int:
    assert answer.status_code == 200
    return len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())


def test_requests_may_alternate(pages: Pages, tmp_path: Path) -> None:
    first, second = pages.clients
    for path in ("/api/info", "/api/search?q=a+dog&k=5", "/api/similar/3", "/api/facets", "/thumb/1", "/preview/2",
                 "/image/3", "/download/4", "/"):  # fmt: skip
        answers = [client.get(path) for client in (first, second, first)]
        assert [answer.status_code for answer in answers] == [200] * 3, path
        if path == "/":  # Gradio writes the address of the process into it
            continue
        is_json = answers[0].headers["content-type"] == "application/json"
        comparable = [timeless(answer.json()) if is_json else answer.content for answer in answers]
        assert comparable[0] == comparable[1] == comparable[2], path
        assert len({answer.headers.get("etag") for answer in answers}) == 1, path
    assert names_in(second.get(prepare_zip(first))) == names_in(first.get(prepare_zip(second))) == 3
    address = upload(first, tmp_path / "photos" / "00005.jpg")
    views = [ask(client, address=address) for client in (second, first)]
    assert timeless(views[0]) == timeless(views[1])
    assert views[0]["kind"] == "results"


@pytest.mark.parametrize("program", ["nginx", "caddy"])
def test_behind_a_proxy_the_other_page_goes_on_where_one_has_ended(program: str, pages: Pages, tmp_path: Path) -> None:
    """Run the proxies with the configurations of docs/server.md and docs/page.md."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    port, file = free_port(), tmp_path / "proxy.conf"
    file.write_text((_nginx if program == "nginx" else _caddy)(pages.ports, port, tmp_path))
    commands = {
        "nginx": ["-p", str(tmp_path), "-c", str(file), "-e", str(tmp_path / "errors.log"), "-g", "daemon off;"],
        "caddy": ["run", "--config", str(file), "--adapter", "caddyfile"],
    }
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    proxy = subprocess.Popen([program, *commands[program]], env={**os.environ, **home}, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": HOST}, timeout=240) as browser:
            _wait_for(browser)
            hits = browser.get("/api/search?q=a+dog").json()["hits"]
            address, archive = upload(browser, tmp_path / "photos" / "00005.jpg"), prepare_zip(browser)
            view = ask(browser, address=address)
            counts = [_searches(client) for client in pages.clients]
            assert counts.count(0) == 1, counts  # a browser stays with one page
            stayed = counts.index(max(counts))
            pages.processes[stayed].terminate()
            pages.processes[stayed].wait(30)
            assert browser.get("/api/search?q=a+dog").json()["hits"] == hits
            assert timeless(ask(browser, address=address)) == timeless(view)
            assert names_in(browser.get(archive)) == 3
    finally:
        proxy.terminate()
        proxy.wait(30)


def _block(name: str, page: str, ports: list[int]) -> str:
    """Return a block of the documentation with these ports in place of its own."""
    text = (ROOT / "docs" / page).read_text()
    block = textwrap.dedent(re.search(rf"^    {re.escape(name)} .*?^    }}\n", text, re.M | re.S)[0])  # type: ignore[index]
    for documented, own in zip(("7860", "7861"), ports, strict=True):
        block = block.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{own}")
    assert str(ports[0]) in block
    return block


def _caddy(ports: list[int], port: int, folder: Path) -> str:
    """Return the documented configuration without TLS."""
    site = _block(HOST, "server.md", ports).replace(HOST, f"http://{HOST}:{port}")
    return f"{{\n    admin off\n}}\n{site}"


def _nginx(ports: list[int], port: int, folder: Path) -> str:
    """Return the two documented blocks without TLS."""
    upstream, server = _block("upstream", "server.md", ports), _block("server", "page.md", ports)
    server = re.sub(r" *ssl_.*\n", "", server).replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    server = server.replace(f"http://127.0.0.1:{ports[0]};", "http://pages;")
    assert "http://pages;" in server
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/nginx_{kind};\n" for kind in kinds)
    logs = f"access_log off;\nerror_log {folder}/errors.log;\n"
    return f"pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{logs}{paths}{upstream}{server}}}\n"


def _wait_for(browser: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if browser.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the proxy does not answer")


def _searches(client: httpx.Client) -> int:
    """Return the number of searches that a page has counted itself."""
    text = client.get("/metrics").text
    found = re.findall(r"^image_search_requests_total\{[^}]*/api/search[^}]*\} (\d+)", text, re.M)
    return sum(map(int, found))

"""Forged requests: passwords, addresses, hosts, origins, paths, events, uploads and request smuggling."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .outcome import Outcome
from .page import AUTH, KEY_LINE, Page

_BOUNDARY = {"Content_Type": "multipart/form-data; boundary=b"}
_EVENT: dict[str, Any] = {"data": [], "event_data": {"address": ""}, "fn_index": 1, "session_hash": "abc"}
_JSON = {"Content_Type": "application/json"}
_SECONDS = 5


def guessed_passwords(page: Page) -> Outcome:
    """Wrong passwords, each with another forged address. The throttle must count the real address."""
    statuses, start = [], time.monotonic()
    for number in range(300):
        wrong = "Basic " + base64.b64encode(f"ann:{number}".encode()).decode()
        answer = page.ask(
            "GET", "/", known=False, source="127.0.0.67", Authorization=wrong, X_Forwarded_For=f"10.0.{number % 256}.7"
        )
        statuses.append(answer.status)
    locked_out = page.ask("GET", "/api/info", source="127.0.0.1").status != 200
    checked, may = statuses.count(401), 11 + (time.monotonic() - start) / 6  # ten at once, then one every six seconds
    return Outcome(
        "guessed passwords, forged X-Forwarded-For", 300, checked <= may and not locked_out, f"{checked} checked"
    )


def forged_names(page: Page) -> Outcome:
    """Foreign hosts, origins and forwarded hosts."""
    hosts = ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""]
    statuses = [page.ask("GET", "/api/info", Host=host).status for host in hosts]
    origins = ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"]
    statuses += [page.ask("POST", "/api/search", b"{}", Origin=origin, **_JSON).status for origin in origins]
    statuses += [page.ask("POST", "/api/search", b"{}", Sec_Fetch_Site="cross-site", **_JSON).status]
    reflected = b"evil" in page.ask("GET", "/", X_Forwarded_Host="evil.example", X_Forwarded_Proto="https").body
    return Outcome("forged hosts and origins", len(statuses) + 1, not reflected and not {200, 0} & set(statuses))


def traversals(page: Page) -> Outcome:
    """Paths to the server's files in every spelling. Without the password, every path must be refused."""
    names = ["etc/passwd", "proc/self/environ", "etc/hostname"]
    prefixes = ["/gradio_api/file=/", "/file=/", "/static/../../../", "/assets/%2e%2e/%2e%2e/", "/assets/..%2f..%2f",
                "/thumb/..%2f..%2f", "/image/%2e%2e%2f", "/gradio_api/file=%2f", "/static//", "/assets/..\\..\\",
                "/gradio_api/proxy=http://127.0.0.1/", "/download/..%2f"]  # fmt: skip
    answers = [page.ask("GET", prefix + name) for prefix in prefixes for name in names]
    leaked = sum(b"root:" in answer.body or b"IMAGE_SEARCH" in answer.body for answer in answers)
    closed = [
        "/",
        "/config",
        "/api/info",
        "/metrics",
        "/thumb/0",
        "/gradio_api/info",
        "/gradio_api/queue/data?session_hash=a",
    ]
    opened = sum(page.ask("GET", path, known=False).status != 401 for path in closed)
    return Outcome("paths to the server's files", len(answers) + len(closed), leaked == 0 and opened == 0)


def events(page: Page) -> Outcome:
    """Events that Gradio cannot handle. Afterwards it must still answer a valid event, and must have logged nothing."""
    before = page.log_bytes
    bad = [{"session_hash": name} for name in ("\ud800", "", None, "a b", 5, "x" * 9_999)]
    bad += [{"fn_index": index} for index in (-1, 99, 2**70, None, "1")]
    bad += [{"event_data": value} for value in ("x", [], 5)]
    bad += [
        {"data": [{"path": name, "meta": {"_type": "gradio.FileData"}}]}
        for name in ("/etc/passwd", "http://127.0.0.1/")
    ]
    bad += [{"trigger_id": "a"}, {"batched": True}, {"event_data": {"turn": 10**30}}]
    statuses = [_join(page, **change) for change in bad]
    for path in ("cancel", "reset", "queue/join"):
        for body in (
            b"",
            b"[" * 100_000,
            b'{"session_hash": "\\ud800", "fn_index": 0, "event_id": "\\udfff"}',
            b"\xff\xfe",
        ):
            statuses.append(page.ask("POST", f"/gradio_api/{path}", body, **_JSON).status)
    names = ["unknown", "%ED%A0%80", "", "a" * 9_999]
    statuses += [page.ask("GET", f"/gradio_api/queue/data?session_hash={name}").status for name in names]
    good = (
        _join(page) == 200 and b"process_completed" in page.ask("GET", "/gradio_api/queue/data?session_hash=abc").body
    )
    logged = page.log_bytes - before
    held = good and logged == 0 and all(status in (200, 400, 403, 404, 422) for status in statuses)
    refused = sum(status >= 400 for status in statuses)
    return Outcome("events of Gradio", len(statuses), held, f"{refused} refused, log {logged:+,} bytes")


def uploads(page: Page) -> Outcome:
    """Uploads of 24 MB, aborted uploads and refused uploads. Little of them may stay on the disk."""
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d.png"\r\n\r\n'
    for number in range(12):
        body = part % number + bytes([number]) * (24 << 20) + b"\r\n--b--\r\n"
        page.ask("POST", "/gradio_api/upload", body, **_BOUNDARY)
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n" + KEY_LINE
    head += b"Content-Type: multipart/form-data; boundary=b\r\n"
    for number in range(12):
        one = page.connect(head + b"Content-Length: 20000000\r\n\r\n" + part % number + bytes(10**6))
        if one:
            one.close()
        page.ask("POST", "/gradio_api/upload", part % number + bytes(26 << 20) + b"\r\n--b--\r\n", **_BOUNDARY)
    page.ask("POST", "/gradio_api/upload", part % 99 + b"x\r\n--b--\r\n", **_BOUNDARY)
    folders = list((page.folder / "tmp").glob("image-search-*"))
    left = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    strays = sum(1 for folder in folders for file in folder.glob("tmp*"))
    return Outcome("uploads: many, aborted, refused", 36, left < 101 << 20 and strays == 0, f"{left >> 20} MB on disk")


def values_without_end(page: Page) -> Outcome:
    """JSON bodies of up to 24 MB: millions of values, deep nesting, a long number or text. All must be refused fast."""
    size = 24 << 20
    names = b",".join(b'"%d":1' % number for number in range(2_000_000))
    bodies = [b'{"parts":[' + b"{}," * (size // 3 - 10) + b"{}]}", b'{"parts":[' + b"1," * (size // 2 - 10) + b"1]}"]
    bodies += [b"{" + names + b"}", b"[" * size, b'{"a":' * (size // 5), b'{"k":' + b"9" * size + b"}"]
    bodies += [b'{"q":"' + b"a" * size + b'"}']
    answers = [page.ask("POST", "/api/search", body, **_JSON) for body in bodies]
    slowest = max(answer.seconds for answer in answers)
    # 0: the page closed the connection while the body was being sent.
    held = all(answer.status in (0, 400, 413, 422) for answer in answers) and slowest < _SECONDS
    return Outcome("values without end", len(bodies), held, f"slowest {slowest:.1f} s")


def smuggled(page: Page) -> Outcome:
    """Requests with two lengths, bad chunks or bad headers. None may get a 200 for the request hidden in it."""
    head = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    hidden = b"GET /api/info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    bad = [
        head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na" + hidden,
        head + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden,
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + hidden,
        head + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
        head + b"Content-Length: -1\r\n\r\n" + hidden, head + b"X\x00Y: 1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", head + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    ]  # fmt: skip
    leaked = 0
    for request in bad:
        if one := page.connect(request):
            one.settimeout(3)
            leaked += b"HTTP/1.1 200" in _read(one)
    return Outcome("smuggled and malformed requests", len(bad), leaked == 0)


def filters_and_texts(page: Page) -> Outcome:
    """Filters and texts that try to inject code or to overload a parser."""
    texts = ["' or 1=1 --", '" or id >= 0 or "', "id in [1]", "(" * 3_000, "not " * 3_000, "label == '\\", "\x00",
             "a" * 19_999, "label like '%'", "exists x", "json_contains(a, 1)", "1 == 1", "id == 99999999999999999999",
             "{{7*7}}", "${1}"]  # fmt: skip
    statuses = []
    for text in texts:
        body = json.dumps({"q": "a", "filter": text}).encode()
        statuses.append(page.ask("POST", "/api/search", body, **_JSON).status)
        statuses.append(page.ask("POST", "/api/search", json.dumps({"q": text[:3_999]}).encode(), **_JSON).status)
    return Outcome("filters and texts", len(statuses), all(status in (200, 400, 422) for status in statuses))


def secrets_in_messages(page: Page) -> Outcome:
    """No message, log or command line may show a password or token, even when a second page opens the same file."""
    uri = str(page.folder / "attacked.db")
    done = subprocess.run([sys.executable, "-m", "app", "--port", "0", "--uri", uri], capture_output=True, text=True)
    listed = Path(f"/proc/{page.process.pid}/cmdline").read_bytes().decode()
    refused = [
        subprocess.run([sys.executable, "-m", "pipelines", "info", *given], capture_output=True, text=True)
        for given in (["--token", "hidden"], ["--uri", "http://root:hidden@127.0.0.1:1"])
    ]
    texts = [done.stderr, done.stdout, listed, page.log, *(one.stderr + one.stdout for one in refused)]
    leaks = sum(secret in text for text in texts for secret in (AUTH.split(":")[1], "hidden"))
    return Outcome(
        "secrets in messages and processes", len(texts), leaks == 0 and all(one.returncode for one in refused)
    )


def _join(page: Page, **changes: Any) -> int:
    return page.ask("POST", "/gradio_api/queue/join", json.dumps({**_EVENT, **changes}).encode(), **_JSON).status


def _read(one: socket.socket) -> bytes:
    data = b""
    try:
        while part := one.recv(65_536):
            data += part
    except OSError:
        pass
    finally:
        one.close()
    return data


ATTACKS = (
    guessed_passwords, forged_names, traversals, events, uploads, values_without_end, smuggled, filters_and_texts,
    secrets_in_messages,
)  # fmt: skip

"""Fetches a weights file once: resumable, checked by SHA-256, put in place only when it is whole."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ModelError

TIMEOUT_S = 30
BLOCK = 1 << 20

# Everything that means "the network", and not "the disk", among what a download raises.
_NETWORK_ERRORS = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError)


def download(url: str, target: Path, sha256: str) -> None:
    """Downloads `url` to `target`; what an interrupted download left (`.part`) is continued.

    Without a `sha256` (none is published) the file is taken as it came, and its own is printed for the record.

    Raises:
        ModelError: the network is closed, the disk full, or the file not the expected one.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"fetch {url} by other means and put it at {target} (or name it with --weights)"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if target.is_file():  # another process has just done it
                return
            _fetch(url, part)
            found = sha256_of(part)
            if not sha256:
                print(f"{target.name}: no SHA-256 is published to check it by; its own is {found}", file=sys.stderr)
            if found == (sha256 or found):
                part.replace(target)
                return
            part.unlink()
    except urllib.error.HTTPError as error:
        raise ModelError(f"{target.name}: the server answers {error.code} {error.reason}; {by_hand}") from error
    except _NETWORK_ERRORS as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise ModelError(
            f"{target.name} cannot be downloaded ({reason}); run the command again, or {by_hand}"
        ) from error
    except OSError as error:
        raise ModelError(f"{part} cannot be written: {error.strerror or error}") from error
    raise ModelError(
        f"{target.name} arrived damaged (SHA-256 {found[:12]}…, not {sha256[:12]}…) and was removed; "
        f"run the command again, or {by_hand}"
    )


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Waits while another process downloads the same file: two that append to one `.part` would spoil it."""
    from filelock import FileLock, Timeout  # torch depends on it

    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is downloading {target.name}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fetch(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send
            return
        raise
    with response:
        done = have if response.status == 206 else 0  # a server without ranges sends all of it again
        total = done + int(response.headers.get("Content-Length") or 0)
        with open(part, "ab" if done else "wb") as file, _progress(part.stem, total, done) as advance:
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                advance(len(block))
    if done < total:  # http.client says nothing when a connection ends early
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes, which are kept")


@contextmanager
def _progress(name: str, total: int, done: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr where somebody watches, one line elsewhere. Yields what is to be told of each block's size."""
    if not sys.stderr.isatty():
        print(f"downloading {name} ({total >> 20} MB)", file=sys.stderr)
        yield lambda size: None
        return
    from tqdm import tqdm

    with tqdm(desc=name, total=total or None, initial=done, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield bar.update

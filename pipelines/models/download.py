"""Fetches a weights file once: resumable, checked by SHA-256, put in place only when it is whole."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import ModelError

TIMEOUT_S = 30
BLOCK = 1 << 20


def download(url: str, target: Path, sha256: str) -> None:
    """Downloads `url` to `target`; what an interrupted download left (`.part`) is continued.

    Raises:
        ModelError: the network is closed, the disk full, or the file not the expected one.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"fetch {url} by other means and put it at {target} (or name it with --weights)"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
    except urllib.error.HTTPError as error:
        raise ModelError(f"{target.name}: the server answers {error.code} {error.reason}; {by_hand}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ModelError(f"{target.name} cannot be downloaded ({reason}); {by_hand}") from error
    except OSError as error:
        raise ModelError(f"{part} cannot be written: {error.strerror or error}") from error
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise ModelError(
            f"{target.name} arrived damaged (SHA-256 {found[:12]}…, not {sha256[:12]}…) and was removed; "
            f"run the command again, or {by_hand}"
        )
    part.replace(target)


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
        resumed = response.status == 206
        total = int(response.headers.get("Content-Length") or 0) + (have if resumed else 0)
        with (
            open(part, "ab" if resumed else "wb") as file,
            _progress(part.stem, total, have if resumed else 0) as advance,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                advance(len(block))


def _bar(name: str, total: int, done: int) -> Any:
    """A progress bar on stderr where somebody watches."""
    from tqdm import tqdm

    return tqdm(total=total or None, initial=done, desc=name, unit="B", unit_scale=True, disable=None)

"""Find the weights file of a model, or download it from the Hugging Face hub or from OpenAI's own server."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import ModelError
from ..settings import cache_dir
from .fingerprint import fingerprint
from .hub_files import commit_of, download_failed, fetch_from_hub, find_on_hub, unavailable
from .spec import ModelSpec

TIMEOUT_S = 30


def locate(spec: ModelSpec, weights: str = "") -> Path:
    """Return the model's weights file; download it on first use.

    Args:
        weights: a file to use instead of the registry's.

    Raises:
        ModelError: the file is missing and cannot be downloaded, or is not the published one.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ModelError(f"there is no weights file {path}")
        return path
    found = find(spec)
    if found is None and spec.weights.path is not None:
        raise ModelError(f"{spec.weights.path}, which ships with this package, is gone: reinstall it")
    if not spec.weights.hub_file:
        return found or _download(spec, _placed(spec))
    path = found or _fetch_from_hub(spec)
    return path if path == _placed(spec) else _verify(spec, path)


def find(spec: ModelSpec) -> Path | None:
    """Return the weights file if it is on this machine: shipped, in the cache folder, or in the hub's shared cache."""
    found = spec.weights.path or _placed(spec)
    if found.is_file() or not spec.weights.hub_file:
        return found if found.is_file() else None
    names = (spec.weights.hub_file, *spec.weights.others)
    return next(filter(None, (find_on_hub(spec.weights, name) for name in names)), None)


def place_of(spec: ModelSpec) -> Path:
    """Return the path of the weights file; if it is missing, the path in the cache folder."""
    return find(spec) or _placed(spec)


def fetch_beside(spec: ModelSpec, path: Path, file: str) -> Path | None:
    """Return a file beside the weights, downloaded if the weights are from the hub; None if there is no such file.

    The weights themselves may be missing: another machine may run the model.

    Raises:
        ModelError: it cannot be downloaded.
    """
    beside = path.parent / file
    if beside.is_file():
        return beside
    is_hubs = spec.weights.hub_file and path == place_of(spec) and not (path == _placed(spec) and path.is_file())
    return fetch_from_hub(spec.name, spec.weights, file) if is_hubs else None


def revision_of(spec: ModelSpec) -> str:
    """Return the commit that is pinned or was recorded by the first download, else 'main'; off the hub, as pinned."""
    return commit_of(spec.weights) if spec.weights.hub_file else spec.weights.revision


def _placed(spec: ModelSpec) -> Path:
    """Return the path in the cache folder: OpenAI's files are kept there, and a user may put any model's file there."""
    return cache_dir() / spec.weights.file


def _fetch_from_hub(spec: ModelSpec) -> Path:
    for file in (spec.weights.hub_file, *spec.weights.others):
        path = fetch_from_hub(spec.name, spec.weights, file)
        if path is not None:
            return path
    repository = spec.weights.repository
    raise unavailable(spec.name, spec.weights, f"the server answers 404 Not Found: {repository} holds no such file")


def _verify(spec: ModelSpec, path: Path) -> Path:
    """Compare a download with its published SHA-256, or with the hub's, which is the file's name in the hub's cache.

    Raises:
        ModelError: they differ; the file was removed.
    """
    stored = path.parent / path.readlink() if path.is_symlink() else path
    expected = spec.weights.sha256 or (stored.name if re.fullmatch(r"[0-9a-f]{64}", stored.name) else "")
    found = fingerprint(path) if expected else ""
    if found == expected:
        return path
    for file in {path, stored}:
        file.unlink()
    raise unavailable(
        spec.name, spec.weights, f"arrived damaged (SHA-256 {found[:12]}…, not {expected[:12]}…) and was removed"
    )


def _download(spec: ModelSpec, target: Path) -> Path:
    """Download one of OpenAI's files; continue the `.part` file of an interrupted download."""
    import httpx

    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _hold_lock(target):
            if not target.is_file():  # another process may have finished it
                _append(spec.weights.url, part)
                _verify(spec, part).replace(target)
    except httpx.HTTPError as error:
        raise download_failed(spec.name, spec.weights, error) from error
    except OSError as error:
        raise ModelError(f"{part} cannot be written: {error.strerror or error}") from error
    return target


def _hold_lock(target: Path) -> AbstractContextManager[object]:
    """Wait while another process downloads the same file; otherwise both would append to the same `.part`."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{target}.lock")
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        print(f"another process is downloading {target.name}; waiting for it", file=sys.stderr)
        return lock.acquire()


def _append(url: str, part: Path) -> None:
    """Request the bytes that `part` lacks and append them."""
    import httpx
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as response:
        if response.status_code == 416 and have:  # the part is complete
            return
        response.raise_for_status()
        done = have if response.status_code == 206 else 0  # a server without ranges sends the whole file
        total = done + int(response.headers.get("Content-Length", 0))
        if not sys.stderr.isatty():
            print(f"downloading {part.stem} ({total >> 20} MB)", file=sys.stderr)
        bar = tqdm(desc=part.stem, total=total, initial=done, unit="B", unit_scale=True, disable=None)
        with open(part, "ab" if done else "wb") as file, bar:
            for block in response.iter_raw():
                file.write(block)
                bar.update(len(block))

"""Find the weights file of a model, or download it: from the Hugging Face hub, or from OpenAI's own server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import ModelError
from ..files import write_atomically
from ..settings import cache_dir
from .spec import ModelSpec

# Hashing a smaller file takes less time than reading the note about it.
REMEMBER_BYTES = 64 * 2**20
BLOCK = 1 << 20
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
    candidates = [spec.weights.path or _placed(spec)]
    if spec.weights.hub_file:
        # From the documented layout of the cache, because importing the code that downloads takes 0.3 s.
        from huggingface_hub.constants import HF_HUB_CACHE

        repository = f"models--{spec.weights.repository.replace('/', '--')}"
        snapshot = Path(HF_HUB_CACHE).expanduser() / repository / "snapshots" / revision_of(spec)
        candidates.append(snapshot / spec.weights.hub_file)
    return next((path for path in candidates if path.is_file()), None)


def revision_of(spec: ModelSpec) -> str:
    """Return the commit that the registry pins or the first download recorded, else 'main'; '' off the hub."""
    if spec.weights.revision or not spec.weights.hub_file:
        return spec.weights.revision
    try:
        return _revision_note(spec).read_text() or "main"
    except OSError:
        return "main"


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. That of a large file is remembered until the file changes."""
    status = path.stat()
    if status.st_size < REMEMBER_BYTES:
        return sha256_of(path)
    state = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    note = cache_dir() / "fingerprints" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:20]}.json"
    try:
        *known, sha256 = json.loads(note.read_text())
        if known == state:
            return str(sha256)
    except (OSError, ValueError):
        pass
    sha256 = sha256_of(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, lambda part: part.write_text(json.dumps([*state, sha256])))
    except OSError:  # a read-only cache: the file is hashed each time
        pass
    return sha256


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _placed(spec: ModelSpec) -> Path:
    """Return where OpenAI's files are kept and where a user may put the file of any model."""
    return cache_dir() / spec.weights.file


def _revision_note(spec: ModelSpec) -> Path:
    return cache_dir() / "revisions" / spec.name


def _unavailable(spec: ModelSpec, reason: str) -> ModelError:
    return ModelError(
        f"{spec.name}: {reason}; run the command again, or fetch {spec.weights.source} by other means and "
        f"put it at {_placed(spec)} (or name it with --weights), or use --model builtin, which needs no download"
    )


def _failed(spec: ModelSpec, error: Exception) -> ModelError:
    """Turn an error of httpx or huggingface_hub into one line with the way out."""
    response = getattr(error, "response", None)
    if response is None:
        return _unavailable(spec, f"cannot be downloaded ({' '.join(str(error).split()) or type(error).__name__})")
    token = " (if it asks for a token, set HF_TOKEN)" if response.status_code in (401, 403) else ""
    return _unavailable(spec, f"the server answers {response.status_code} {response.reason_phrase}{token}")


def _fetch_from_hub(spec: ModelSpec) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repository, file = spec.weights.repository, spec.weights.hub_file
    try:
        # Asked for first, because `hf_hub_download` retries for 25 s without a connection.
        metadata = get_hf_file_metadata(hf_hub_url(repository, file, revision=revision_of(spec)))
        commit = spec.weights.revision or metadata.commit_hash or "main"
        if not sys.stderr.isatty():  # on a terminal the hub's own bar shows it
            print(f"downloading {spec.name} ({(metadata.size or 0) >> 20} MB)", file=sys.stderr)
        path = Path(hf_hub_download(repository, file, revision=commit))
        if not spec.weights.revision:
            note = _revision_note(spec)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(commit)
            print(f"{spec.name}: main of {repository} is {commit}, recorded in {note}", file=sys.stderr)
        return path
    except Exception as error:  # the version decides the classes: those of httpx, httpx2, the hub, or OSError
        raise _failed(spec, error) from error


def _verify(spec: ModelSpec, path: Path) -> Path:
    """Compare a download with its published SHA-256, or with the hub's, which names the file in the hub's cache.

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
    raise _unavailable(spec, f"arrived damaged (SHA-256 {found[:12]}…, not {expected[:12]}…) and was removed")


def _download(spec: ModelSpec, target: Path) -> Path:
    """Download one of OpenAI's files. The `.part` that an interrupted download left is continued."""
    import httpx

    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _hold_lock(target):
            if not target.is_file():  # another process may have finished it
                _append(spec.weights.url, part)
                _verify(spec, part).replace(target)
    except httpx.HTTPError as error:
        raise _failed(spec, error) from error
    except OSError as error:
        raise ModelError(f"{part} cannot be written: {error.strerror or error}") from error
    return target


def _hold_lock(target: Path) -> AbstractContextManager[object]:
    """Wait while another process downloads the same file: both would append to one `.part`."""
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

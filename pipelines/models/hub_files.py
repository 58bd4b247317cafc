"""Files of Hugging Face hub repositories, in the cache that this program shares with the hub's own client."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from ..errors import ModelError
from ..settings import cache_dir
from .spec import Weights


def find_on_hub(weights: Weights, file: str) -> Path | None:
    """Return a file of a repository if it is in the hub's shared cache."""
    path = _hub_cache(weights) / "snapshots" / commit_of(weights) / file
    return path if path.is_file() else None


def fetch_from_hub(name: str, weights: Weights, file: str) -> Path | None:
    """Return a file of a repository, downloaded if it is missing; None if the repository has no such file.

    Raises:
        ModelError: it cannot be downloaded; the message begins with `name`.
    """
    found = find_on_hub(weights, file)
    if found is not None or _absence(weights, commit_of(weights), file).exists():
        return found
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repository, wanted = weights.repository, dataclasses.replace(weights, hub_file=file)
    try:
        # Requested first, because `hf_hub_download` retries for 25 s without a connection.
        metadata = get_hf_file_metadata(hf_hub_url(repository, file, revision=commit_of(weights)))
        commit = weights.revision or metadata.commit_hash or "main"
        if not sys.stderr.isatty() and (metadata.size or 0) >> 20:  # on a terminal the hub's own progress bar shows it
            print(f"downloading {name} ({(metadata.size or 0) >> 20} MB)", file=sys.stderr)
        path = Path(hf_hub_download(repository, file, revision=commit))
        note = _revision_note(weights)
        if not weights.revision and not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(commit)
            print(f"{name}: main of {repository} is {commit}, recorded in {note}", file=sys.stderr)
        return path
    except Exception as error:  # the class depends on the version: of httpx, httpx2 or the hub, or OSError
        response = getattr(error, "response", None)
        if response is None or response.status_code != 404:
            raise download_failed(name, wanted, error) from error
        commit = weights.revision or response.headers.get("X-Repo-Commit", "")
    if commit:  # recorded as the hub's own client does, so that the server is not asked again
        absence = _absence(weights, commit, file)
        absence.parent.mkdir(parents=True, exist_ok=True)
        absence.touch()
    return None


def commit_of(weights: Weights) -> str:
    """Return the pinned commit, else the one recorded by the first download, else the hub cache's `main`."""
    if weights.revision:
        return weights.revision
    for note in (_revision_note(weights), _hub_cache(weights) / "refs" / "main"):
        try:
            return note.read_text() or "main"
        except OSError:
            pass
    return "main"


def unavailable(name: str, weights: Weights, reason: str) -> ModelError:
    """Return the error for a model whose file is missing, with the remedies."""
    elsewhere = f"put it at {cache_dir() / weights.file} (or name it with --weights)"
    if not weights.file:  # a model named `hf:…`
        elsewhere = "name the folder that holds the repository's files (--model ./FOLDER)"
    return ModelError(
        f"{name}: {reason}; run the command again, or fetch {weights.source} by other means and {elsewhere}, "
        "or use --model builtin, which needs no download"
    )


def download_failed(name: str, weights: Weights, error: Exception) -> ModelError:
    """Turn an error of httpx or huggingface_hub into one line with the remedies."""
    response = getattr(error, "response", None)
    if response is None:
        reason = f"cannot be downloaded ({' '.join(str(error).split()) or type(error).__name__})"
        return unavailable(name, weights, reason)
    token = " (if it asks for a token, set HF_TOKEN)" if response.status_code in (401, 403) else ""
    return unavailable(name, weights, f"the server answers {response.status_code} {response.reason_phrase}{token}")


def _absence(weights: Weights, commit: str, file: str) -> Path:
    """Return the empty file that records in the hub's cache that a repository has no file of this name."""
    return _hub_cache(weights) / ".no_exist" / commit / file


def _hub_cache(weights: Weights) -> Path:
    """Return a repository's folder by the documented layout: importing the hub's download code takes 0.3 s."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE).expanduser() / f"models--{weights.repository.replace('/', '--')}"


def _revision_note(weights: Weights) -> Path:
    return cache_dir() / "revisions" / weights.repository

"""The SHA-256 of a weights file, which tells models of equal sizes apart."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ..files import write_atomically
from ..settings import cache_dir

# Hashing a smaller file is faster than reading its cached hash.
REMEMBER_BYTES = 2**20
BLOCK = 1 << 20


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. The hash of a large file is cached until the file changes."""
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

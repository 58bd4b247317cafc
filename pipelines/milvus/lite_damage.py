"""Find damage in a Milvus Lite database before it is opened.

Milvus Lite would show a damaged collection as empty, and delete the files that its damaged manifest does not list.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StoreError, counted

_damaged: dict[str, dict[str, str]] = {}  # the problem, by database and collection
_SEQUENCES = re.compile(r"_(\d+)_(\d+)\.parquet$")  # numbers of the first and the last row that were written to a file
_IPC_START = b"\xff\xff\xff\xff"


def look_for_damage(path: str) -> None:
    """Check the files of all collections of a database that is about to be opened."""
    folders = Path(path, "collections").glob("*/")
    found = {folder.name: line for folder in folders if (line := next(_problems(folder), ""))}
    _damaged[path] = found


def refuse_damage(path: str, collection: str) -> None:
    """Raise StoreError if a collection was damaged when its database was opened: it names the file, loss and remedy."""
    if problem := _damaged.get(path, {}).get(collection):
        raise StoreError(problem)


def _problems(folder: Path) -> Iterator[str]:
    """Yield one line for each problem of a collection."""
    advice = f"; put it back from a backup, or move {folder} away and insert the images again"
    schema, manifest = folder / "schema.json", folder / "manifest.json"
    data = list(folder.glob("partitions/*/data/*.parquet"))
    if (problem := _json_problem(schema)) and (schema.exists() or data):
        yield f"{schema} {problem}: without it up to {counted(_rows(data), 'row')} cannot be read{advice}"
    if problem := _json_problem(manifest):
        if manifest.exists() or data or manifest.with_name("manifest.json.prev").exists():
            yield f"{manifest} {problem}: without it up to {counted(_rows(data), 'row')} cannot be found{advice}"
        return
    files = list(_listed_files(folder, manifest))
    for file in files:
        if problem := _parquet_problem(file):
            lost = "which rows were deleted is lost"
            if rows := _rows([file]):
                lost = f"up to {rows:,} of {counted(_rows(files), 'row')} cannot be read"
            yield f"{file} {problem}: {lost}{advice}"
    for log in sorted(folder.glob("wal/*.arrow")):
        with open(log, "rb") as opened:
            if (start := opened.read(4)) and start != _IPC_START:
                lost = "the last rows that were written are lost"
                yield f"{log} is damaged: {lost}; move that file away and run the last insert again"


def _json_problem(path: Path) -> str:
    try:
        return "" if isinstance(json.loads(path.read_text(encoding="utf-8")), dict) else "is damaged"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError:
        return "is damaged"


def _listed_files(folder: Path, manifest: Path) -> Iterator[Path]:
    partitions: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8")).get("partitions") or {}
    for name, files in partitions.items():
        for relative in (*files.get("data_files", ()), *files.get("delta_files", ())):
            yield folder / "partitions" / name / relative


def _parquet_problem(path: Path) -> str:
    import pyarrow as pa
    from pyarrow import parquet

    if not path.exists():
        return "is missing"
    try:
        parquet.read_metadata(os.fspath(path))
    except pa.ArrowException:
        return "is damaged"
    except OSError as error:
        return f"cannot be read ({error.strerror or 'damaged'})"
    return ""


def _rows(files: list[Path]) -> int:
    """Count the rows that were written to data files; some may have been replaced or deleted since."""
    ranges = (match for file in files if file.parent.name == "data" and (match := _SEQUENCES.search(file.name)))
    return sum(int(match[2]) - int(match[1]) + 1 for match in ranges)

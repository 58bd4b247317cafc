"""A list of results as a file to take along."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from pipelines.search import Hit, Results

# A spreadsheet would take a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_json(results: Results) -> str:
    """Rank, id, score, path and fields of each hit; ids as text, for JavaScript's numbers have 53 bits."""
    rows = [
        {"rank": hit.rank, "id": str(hit.id), "score": hit.score, "path": hit.path, "fields": hit.fields}
        for hit in results.hits
    ]
    return json.dumps(rows, ensure_ascii=False, indent=2)


def to_csv(results: Results) -> str:
    """One row for each hit. Texts that a spreadsheet would run as a formula get an apostrophe before them."""
    names = list(results.hits[0].fields) if results.hits else []
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["rank", "id", "score", "path", *map(_harmless, names)])
    writer.writerows(_row(hit, names) for hit in results.hits)
    return buffer.getvalue()


def _row(hit: Hit, names: list[str]) -> list[Any]:
    values = [hit.path, *(hit.fields[name] for name in names)]
    return [hit.rank, hit.id, f"{hit.score:.6f}", *map(_harmless, values)]


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

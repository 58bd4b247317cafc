"""Search results for other programs: flat records, JSON, and CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .searcher import Hit

_OWN = ("rank", "id", "score", "path", "folded")
# What Excel, LibreOffice and Google Sheets take for the start of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def record(hit: Hit, with_folded: bool = False) -> dict[str, Any]:
    """A hit as one flat record. A column of the CSV that is called like one of ours becomes `column_…`."""
    own: dict[str, Any] = {"rank": hit.rank, "id": hit.id, "score": hit.score, "path": hit.path}
    if with_folded:
        own["folded"] = hit.folded
    fields = {f"column_{name}" if name in _OWN else name: value for name, value in hit.fields.items()}
    return {**own, **fields}


def to_json(hits: Sequence[Hit], with_folded: bool = False) -> str:
    """A list of records."""
    return json.dumps([record(hit, with_folded) for hit in hits], ensure_ascii=False, indent=2)


def to_csv(hits: Sequence[Hit], field_names: Sequence[str], with_folded: bool = False) -> str:
    """Records with a header, lines ending in CRLF (RFC 4180); an empty field is an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    own = _OWN if with_folded else _OWN[:-1]
    header = [*own, *(f"column_{name}" if name in _OWN else name for name in field_names)]
    out = io.StringIO()
    writer = csv.DictWriter(out, header, restval="")
    writer.writeheader()
    for hit in hits:
        writer.writerow({name: _cell(value) for name, value in record(hit, with_folded).items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "'" + value if value.startswith(_FORMULA) else value

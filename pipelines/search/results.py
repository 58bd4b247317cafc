"""The results of a search, and their output as records, JSON, and CSV without formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..query.order import RELEVANCE
from .facets import Suggestion

_OWN = ("rank", "id", "score", "path", "folded")
# Excel, LibreOffice and Google Sheets read a cell that starts with one of these as a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Hit:
    """One image found.

    id: a number, or the text that a CSV gives as the id.
    score: the cosine to the query: higher is nearer. Not comparable between models. None for a query without parts.
    folded: the number of near duplicates folded into this hit so far (`Query.fold`).
    """

    rank: int
    id: int | str
    score: float | None
    path: str
    fields: dict[str, Any]
    folded: int = 0


class Note(NamedTuple):
    """A note on a search: the key of its text in the page's locales, and the values of the text's placeholders."""

    key: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        return _NOTES[self.key].format(**self.values)

    def __hash__(self) -> int:
        return hash((self.key, *self.values.items()))


_NOTES = {
    "text_cut": "the model reads {tokens} tokens, some {words} words: the end of the text was left out",
    "note_translated": "“{text}” was searched as “{english}”",
    "note_multilingual": "“{text}” was read by the multilingual text tower",
    "note_english_only": "“{text}” looks {language}, and {model} reads English: ask in English, or with {way}",
    "note_unknown_language": "“{text}” looks {language}, which {model} does not read; it reads {reads}",
}


@dataclass(frozen=True, slots=True)
class Results:
    """One page of hits, in the order of the query.

    seconds: the duration of the whole search; `embed_seconds` of it for the embedding, `search_seconds` for Milvus.
    has_more: whether there is a next page.
    rows: the number of images in the collection, counted at most half a minute ago.
    total: the number of images that match the filter.
    above: the number of images that score at least `Query.min_score`, None without one; 16,384 means that many or more.
    order: the order of the hits, which is never relevance for a query without parts.
    age: seconds since the columns that order and filter the hits were last known to be up to date; 0 for a search,
        which Milvus itself filters.
    suggestions: if no image matches, the most similar values for those in the filter that no image has.
    notes: notes for the user, for example that a text was too long for the model, or which text tower read it.
    """

    hits: list[Hit]
    seconds: float
    embed_seconds: float = 0.0
    search_seconds: float = 0.0
    has_more: bool = False
    rows: int = 0
    notes: tuple[Note, ...] = ()
    total: int = 0
    above: int | None = None
    order: str = RELEVANCE
    age: float = 0.0
    suggestions: tuple[Suggestion, ...] = ()


def record(hit: Hit, with_folded: bool = False) -> dict[str, Any]:
    """Return a hit as one flat record. A CSV column named like one of the hit's own fields becomes `column_…`."""
    own: dict[str, Any] = {"rank": hit.rank, "id": hit.id, "score": hit.score, "path": hit.path}
    if with_folded:
        own["folded"] = hit.folded
    return {**own, **{_column(name): value for name, value in hit.fields.items()}}


def to_json(hits: Sequence[Hit], with_folded: bool = False) -> str:
    """Write hits as a JSON list of records."""
    return json.dumps([record(hit, with_folded) for hit in hits], ensure_ascii=False, indent=2)


def to_csv(hits: Sequence[Hit], field_names: Sequence[str], with_folded: bool = False) -> str:
    """Write hits as CSV with a header and lines ending in CRLF (RFC 4180); an empty field is an empty cell.

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    own = _OWN if with_folded else _OWN[:-1]
    out = io.StringIO()
    writer = csv.DictWriter(out, [*own, *map(_column, field_names)], restval="")
    writer.writerow({name: _cell(name) for name in writer.fieldnames})
    for hit in hits:
        writer.writerow({name: _cell(value) for name, value in record(hit, with_folded).items()})
    return out.getvalue()


def _column(name: str) -> str:
    return f"column_{name}" if name in _OWN else name


def _cell(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value

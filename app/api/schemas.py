"""Requests and responses of the API, from which FastAPI makes the OpenAPI document."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipelines.fields import read_id, row_id
from pipelines.query import MAX_LIMIT, MAX_PARTS, Part, Query, parse_query
from pipelines.query.query import LARGEST_WEIGHT
from pipelines.search.results import Hit, Results

MAX_K = 1_000


def _as_id(value: object) -> object:
    """Accept an integer of 64 bits or a text, but nothing else that pydantic converts (`true`, `1.0`)."""
    if isinstance(value, str):
        return read_id(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError("not a whole number of 64 bits and no text")
    return value


# JavaScript's numbers have 53 bits, so an id is accepted as text too, and always sent as text too.
ImageId = Annotated[
    int | str,
    BeforeValidator(_as_id),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
                {"type": "string", "description": "The digits of the number, or the text that a CSV gives as the id."},
            ]
        }
    ),
]


def _as_bytes(value: object) -> object:
    """Read base64 of either alphabet (RFC 4648), with or without padding, alone or in a `data:` URL (RFC 2397)."""
    if not isinstance(value, str):
        raise ValueError("not a text in base64")
    if value[:5].lower() == "data:":
        head, comma, value = value.partition(",")
        if not (comma and head.lower().endswith(";base64")):
            raise ValueError("not a data URL in base64")
    digits = "".join(value.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)  # its error is a ValueError


Base64 = Annotated[
    bytes,
    BeforeValidator(_as_bytes),
    WithJsonSchema({"type": "string", "description": "Base64, also URL-safe or as a `data:` URL."}),
]
Text = Annotated[str, Field(max_length=4_000)]
Weight = Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, description="Negative steers away; not 0.")]


class SearchOptions(BaseModel):
    """What every search takes beside its query."""

    k: int = Field(10, ge=1, le=MAX_K, description="Number of hits.")
    offset: int = Field(0, ge=0, le=MAX_LIMIT, description="Skip this many hits, for the next page.")
    filter: str = Field(
        "", max_length=20_000, description='On the columns of the collection: `label == "cat" and not (year < 2020)`.'
    )
    min_score: float | None = Field(
        None, ge=-1, le=1, description="Leave out hits below this cosine. Scores of different models do not compare."
    )
    fold: float | None = Field(
        None, gt=0, le=1, description="Merge near-duplicates of at least this cosine into one hit; 0.95 folds copies."
    )

    language: str = Field("", max_length=20, description="Of the texts, as `de`; by default told from their words.")

    def to_query(self, line: str, *parts: Part) -> Query:
        """Return the query of a line of the query language and of further parts.

        Raises:
            InputError: the line cannot be read, there is nothing to search for, or the hits lie too deep.
        """
        texts = parse_query(line) if line.strip() or not parts else ()
        return Query(
            (*texts, *parts), self.k, self.offset, self.filter or None, self.min_score, self.fold, self.language
        )


class DownloadOptions(SearchOptions):
    """What every search by GET takes."""

    format: Literal["json", "csv"] = Field("json", description="`csv` answers with a file.")


class TextSearch(DownloadOptions):
    """A search by words."""

    q: Text = Field(min_length=1, description="The query language.", examples=["beach -people"])


class PartIn(BaseModel):
    """One part of a query: exactly one of `text`, `id` and `image` (a file, base64)."""

    model_config = ConfigDict(extra="forbid")

    text: Text = ""
    id: ImageId | None = None
    image: Base64 | None = None
    weight: Weight = 1.0


class SearchRequest(SearchOptions):
    """A search: a line of the query language (`q`), weighted `parts`, or both together."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"q": "beach -people", "k": 5},
                {"parts": [{"text": "at night"}, {"id": "42", "weight": 0.5}], "filter": 'label == "street"'},
            ]
        },
    )

    q: Text = ""
    parts: list[PartIn] = Field(default=[], max_length=MAX_PARTS)


class SearchForm(SearchOptions):
    """A search as a form: a line of the query language (`q`), image files, or both together."""

    model_config = ConfigDict(extra="forbid")

    q: Text = ""
    image: list[Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]] = []
    weight: list[Weight] = Field([], description="One for each image, or none.")


class HitOut(BaseModel):
    """One image found."""

    rank: int
    id: int | str = Field(
        description="A number of 64 bits, more than JavaScript's have (see `id_text`), or the text that a CSV gives."
    )
    id_text: str
    score: float = Field(description="Cosine to the query; not comparable between models.")
    path: str
    folded: int = Field(description="Near-duplicates merged into this hit, of those examined.")
    fields: dict[str, Any] = Field(
        description="The columns of the CSV; null for an empty cell, dates as ISO 8601.",
        examples=[{"label": "beach", "year": 2021, "taken": "2021-05-01"}],
    )
    thumb: str = Field(description="Address of a small WebP of it.")
    image: str = Field(description="Address of the image.")

    @classmethod
    def of(cls, hit: Hit) -> HitOut:
        """Convert a hit of `pipelines`."""
        return cls(
            rank=hit.rank, id=hit.id, id_text=str(hit.id), score=hit.score, path=hit.path, folded=hit.folded,
            fields=hit.fields, thumb=f"/thumb/{row_id(hit.id)}", image=f"/image/{row_id(hit.id)}",
        )  # fmt: skip


class Seconds(BaseModel):
    """Duration of a search in seconds: all of it, the embedding of the query, and the search in Milvus."""

    total: float
    embed: float
    search: float


class SearchResponse(BaseModel):
    """One page of hits, best first."""

    hits: list[HitOut]
    has_more: bool
    rows: int = Field(description="Images in the collection.")
    notes: list[str] = Field(
        description="Remarks: a text was longer than the model reads, or how one that is not English was read."
    )
    seconds: Seconds

    @classmethod
    def of(cls, results: Results) -> SearchResponse:
        """Convert results of `pipelines`."""
        seconds = Seconds(total=results.seconds, embed=results.embed_seconds, search=results.search_seconds)
        hits = [HitOut.of(hit) for hit in results.hits]
        return cls(
            hits=hits,
            has_more=results.has_more,
            rows=results.rows,
            notes=[str(note) for note in results.notes],
            seconds=seconds,
        )


class ColumnOut(BaseModel):
    """A column that hits carry and filters may name."""

    name: str
    type: Literal["int", "float", "bool", "date", "text"]


class InfoResponse(BaseModel):
    """The collection: its size, model, index and columns."""

    collection: str
    rows: int
    model: str
    dim: int
    index: str
    metric: str
    columns: list[ColumnOut]


class ErrorResponse(BaseModel):
    """The error, on one line."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "filter, character 7: expected a column"}]})

    error: str


class StatusResponse(BaseModel):
    """A probe's answer."""

    status: Literal["ok", "unavailable"]
    reason: str = ""

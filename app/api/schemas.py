"""Requests and responses of the API, from which FastAPI makes the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from pipelines.fields import row_id
from pipelines.query import MAX_LIMIT, MAX_PARTS, Line, Part, Query, parse_line
from pipelines.query.date_words import Offer
from pipelines.query.order import RELEVANCE
from pipelines.query.query import BEST
from pipelines.search.results import Hit, Results

from .schema_types import Base64, ColumnType, ImageId, Text, Weight

MAX_K = 1_000


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
    sort: str = Field(
        RELEVANCE,
        max_length=300,
        description="`relevance`, `date` (taken, or else modified), `name`, `path` or a column, with `:asc` or `:desc` "
        "behind it; dates start with the newest. Orders all hits of at least `min_score`, or else the `best` ones, or "
        "all images of the filter where there is no query.",
        examples=["taken:desc"],
    )
    best: int = Field(BEST, ge=1, le=MAX_LIMIT, description="How many of the nearest images `sort` applies to.")

    def to_query(self, line: str, *parts: Part) -> Query:
        """Return the query of a line of the query language and of further parts.

        Raises:
            InputError: the line cannot be read, there is nothing to search for, or the hits lie too deep.
        """
        read = parse_line(line) if line.strip() else Line()
        return Query(
            (*read.parts, *parts), self.k, self.offset, self.filter or None, self.min_score, self.fold, self.language,
            order=self.sort, best=self.best, dates=read.dates,
        )  # fmt: skip


class DownloadOptions(SearchOptions):
    """What every search by GET takes."""

    format: Literal["json", "csv"] = Field("json", description="`csv` answers with a file.")


class TextSearch(DownloadOptions):
    """A search by words, or a list of the images of a filter."""

    q: Text = Field("", description="The query language.", examples=["beach -people taken:2021"])


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
    score: float | None = Field(
        description="Cosine to the query, not comparable between models; null where nothing was searched for."
    )
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


class SuggestionOut(BaseModel):
    """A value that the filter names and no image has, and the nearest ones that some have."""

    column: str
    value: str
    nearest: list[str]


class OfferOut(BaseModel):
    """A date that `q` perhaps means: `words` of it as a `term` of the query language, and what is left of it."""

    words: str
    term: str
    rest: str


class SearchResponse(BaseModel):
    """One page of hits, in the order of `sort`."""

    hits: list[HitOut]
    has_more: bool
    rows: int = Field(description="Images in the collection.")
    total: int = Field(description="Images that the filter leaves.")
    above: int | None = Field(
        description="Images of at least `min_score`, null without one; of 16,384 there may be more."
    )
    sort: str = Field(description="The order of the hits.")
    age: float = Field(description="Seconds since the columns that filtered and ordered were known to be up to date.")
    suggestions: list[SuggestionOut]
    offer: OfferOut | None = Field(description="A date in words, as `May 2021`: nothing is filtered by it unasked.")
    notes: list[str] = Field(
        description="Remarks: a text was longer than the model reads, or how one that is not English was read."
    )
    seconds: Seconds

    @classmethod
    def of(cls, results: Results, offer: Offer | None = None) -> SearchResponse:
        """Convert results of `pipelines`."""
        seconds = Seconds(total=results.seconds, embed=results.embed_seconds, search=results.search_seconds)
        hits = [HitOut.of(hit) for hit in results.hits]
        return cls(
            hits=hits,
            has_more=results.has_more,
            rows=results.rows,
            total=results.total,
            above=results.above,
            sort=results.order,
            age=results.age,
            offer=OfferOut(**offer._asdict()) if offer else None,
            suggestions=[SuggestionOut(**found._asdict()) for found in results.suggestions],
            notes=[str(note) for note in results.notes],
            seconds=seconds,
        )


class ColumnOut(BaseModel):
    """A column that hits carry and filters may name."""

    name: str
    type: ColumnType


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
    key: str = Field("", description="Of the reason, for programs: `error_database` while Milvus does not answer.")

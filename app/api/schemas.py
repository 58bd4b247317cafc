"""Requests and responses of the API. FastAPI generates the OpenAPI document from them."""

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
    """Parameters of every search besides its query."""

    k: int = Field(10, ge=1, le=MAX_K, description="Number of hits.")
    offset: int = Field(0, ge=0, le=MAX_LIMIT, description="Skip this many hits, for the next page.")
    filter: str = Field(
        "", max_length=20_000, description='A filter on columns, such as `label == "cat" and not (year < 2020)`.'
    )
    min_score: float | None = Field(
        None, ge=-1, le=1, description="Leave out hits below this cosine. Scores are not comparable between models."
    )
    fold: float | None = Field(
        None, gt=0, le=1, description="Merge near-duplicates of at least this cosine into one hit; 0.95 folds copies."
    )

    language: str = Field("", max_length=20, description="Language of the texts, such as `de`; detected by default.")
    sort: str = Field(
        RELEVANCE,
        max_length=300,
        description="`relevance`, `date` (taken, or else modified), `name`, `path` or a column, optionally followed by "
        "`:asc` or `:desc`; dates start with the newest. Orders all hits of at least `min_score`; without `min_score` "
        "the `best` ones; without a query all images that match the filter.",
        examples=["taken:desc"],
    )
    best: int = Field(BEST, ge=1, le=MAX_LIMIT, description="How many of the nearest images `sort` applies to.")

    def to_query(self, line: str, *parts: Part) -> Query:
        """Return the query for a line of the query language and further parts.

        Raises:
            InputError: the line cannot be parsed, there is nothing to search for, or `offset` is too large.
        """
        read = parse_line(line) if line.strip() else Line()
        return Query(
            (*read.parts, *parts), self.k, self.offset, self.filter or None, self.min_score, self.fold, self.language,
            order=self.sort, best=self.best, dates=read.dates,
        )  # fmt: skip


class DownloadOptions(SearchOptions):
    """Parameters of every search by GET."""

    format: Literal["json", "csv"] = Field("json", description="`csv` returns a file.")


class TextSearch(DownloadOptions):
    """A search by words, or a list of the images that match a filter."""

    q: Text = Field("", description="A line of the query language.", examples=["beach -people taken:2021"])


class PartIn(BaseModel):
    """One part of a query: exactly one of `text`, `id` and `image` (a file in base64)."""

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
        description="A 64-bit number, too large for JavaScript (see `id_text`), or a text if the CSV gave one."
    )
    id_text: str
    score: float | None = Field(
        description="Cosine to the query, not comparable between models; null if nothing was searched for."
    )
    path: str
    folded: int = Field(description="Number of near-duplicates merged into this hit, among those examined.")
    fields: dict[str, Any] = Field(
        description="The columns of the collection; null for an empty cell, dates as ISO 8601.",
        examples=[{"label": "beach", "year": 2021, "taken": "2021-05-01"}],
    )
    thumb: str = Field(description="URL path of a small WebP version.")
    image: str = Field(description="URL path of the image.")

    @classmethod
    def of(cls, hit: Hit) -> HitOut:
        """Convert a hit of `pipelines`."""
        return cls(
            rank=hit.rank, id=hit.id, id_text=str(hit.id), score=hit.score, path=hit.path, folded=hit.folded,
            fields=hit.fields, thumb=f"/thumb/{row_id(hit.id)}", image=f"/image/{row_id(hit.id)}",
        )  # fmt: skip


class Seconds(BaseModel):
    """Duration of a search in seconds: in total, for the embedding of the query, and for the search in Milvus."""

    total: float
    embed: float
    search: float


class SuggestionOut(BaseModel):
    """A value in the filter that no image has, and the most similar values that some images have."""

    column: str
    value: str
    nearest: list[str]


class OfferOut(BaseModel):
    """A date that `q` may mean: its `words`, the `term` of the query language for them, and the `rest` of `q`."""

    words: str
    term: str
    rest: str


class SearchResponse(BaseModel):
    """One page of hits, in the order of `sort`."""

    hits: list[HitOut]
    has_more: bool
    rows: int = Field(description="Number of images in the collection.")
    total: int = Field(description="Number of images that match the filter.")
    above: int | None = Field(
        description="Number of images with at least `min_score`, null without one; 16,384 means that many or more."
    )
    sort: str = Field(description="The order of the hits.")
    age: float = Field(description="Seconds since the columns used to filter and order were known to be up to date.")
    suggestions: list[SuggestionOut]
    offer: OfferOut | None = Field(description="A date in words in `q`, such as `May 2021`; not applied as a filter.")
    notes: list[str] = Field(
        description="Remarks: a text was too long for the model, or how a text that is not English was read."
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
    """A column that hits contain and filters may use."""

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
    """An error, on one line."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "filter, character 7: expected a column"}]})

    error: str


class StatusResponse(BaseModel):
    """The answer to a probe."""

    status: Literal["ok", "unavailable"]
    reason: str = ""
    key: str = Field("", description="Identifies the reason: `error_database` while Milvus does not answer.")

"""What goes in and out of the API, as JSON. The OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipelines.query import MAX_LIMIT, MAX_PARTS, Part, Query, parse_query
from pipelines.query.query import LARGEST_WEIGHT
from pipelines.search.results import Hit, Results

MAX_K = 1_000
# JavaScript's numbers have 53 bits: an id may come, and always goes, as text too.
_ID_TEXT = r"^-?[0-9]{1,19}$"


def _as_id(value: object) -> object:
    """A number, or a number in text; nothing else that pydantic would take for one (`true`, `1.0`, `1_0`)."""
    if isinstance(value, str) and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit():
        return int(value[:21])
    if isinstance(value, (bool, float, str)):
        raise ValueError("not a whole number")
    return value


ImageId = Annotated[
    int,
    BeforeValidator(_as_id),
    Field(ge=-(2**63), lt=2**63),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
                {"type": "string", "pattern": _ID_TEXT},
            ]
        }
    ),
]
K = Annotated[int, Field(ge=1, le=MAX_K, description="How many hits.")]
Offset = Annotated[int, Field(ge=0, le=MAX_LIMIT, description="Leaves out the first so many hits: the next page.")]
FilterText = Annotated[
    str,
    Field(max_length=20_000, description='On the collection\'s columns: `label == "cat" and not (year < 2020)`.'),
]
MinScore = Annotated[
    float | None,
    Field(ge=-1, le=1, description="Leaves out hits below this cosine. Scores are not comparable between models."),
]
Fold = Annotated[
    float | None,
    Field(gt=0, le=1, description="Near duplicates, of at least this cosine, are one hit; 0.95 folds copies."),
]
Text = Annotated[str, Field(max_length=4_000)]


class PartIn(BaseModel):
    """One part of a query: exactly one of `text`, `id` and `image` (a file, base64)."""

    model_config = ConfigDict(extra="forbid")

    text: Text = ""
    id: ImageId | None = None
    image: Base64Bytes | None = None
    weight: float = Field(1.0, ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, description="Negative steers away; not 0.")

    def to_part(self) -> Part:
        """The same for `pipelines`."""
        return Part(self.text, self.image, self.id, self.weight)


class SearchRequest(BaseModel):
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
    k: K = 10
    offset: Offset = 0
    filter: FilterText = ""
    min_score: MinScore = None
    fold: Fold = None

    def to_query(self, images: tuple[Part, ...] = ()) -> Query:
        """The same for `pipelines`; `images` are parts that came as files.

        Raises:
            InputError: it asks for nothing, or for what cannot be.
        """
        given = (*(part.to_part() for part in self.parts), *images)
        words = parse_query(self.q) if self.q.strip() or not given else ()
        return Query((*words, *given), self.k, self.offset, self.filter or None, self.min_score, self.fold)


class HitOut(BaseModel):
    """One image found."""

    rank: int
    id: int = Field(description="64 bits: more than JavaScript's numbers hold; see `id_text`.")
    id_text: str
    score: float = Field(description="Cosine to the query; not comparable between models.")
    path: str
    folded: int = Field(description="Near duplicates this hit also stands for, of those looked at.")
    fields: dict[str, Any] = Field(description="The CSV's own columns; null where the cell was empty.")
    thumb: str = Field(description="Address of a small WebP of it.")
    image: str = Field(description="Address of the image.")

    @classmethod
    def of(cls, hit: Hit) -> HitOut:
        """A hit of `pipelines`."""
        return cls(
            rank=hit.rank, id=hit.id, id_text=str(hit.id), score=hit.score, path=hit.path, folded=hit.folded,
            fields=hit.fields, thumb=f"/thumb/{hit.id}", image=f"/image/{hit.id}",
        )  # fmt: skip


class Seconds(BaseModel):
    """How long it took, in seconds."""

    total: float
    embed: float
    search: float


class SearchResponse(BaseModel):
    """One page of hits, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hits": [
                        {
                            "rank": 1, "id": 42, "id_text": "42", "score": 0.291, "path": "/photos/42.jpg", "folded": 0,
                            "fields": {"label": "beach", "year": 2021}, "thumb": "/thumb/42", "image": "/image/42",
                        }
                    ],
                    "has_more": True, "rows": 1000, "notes": [],
                    "seconds": {"total": 0.021, "embed": 0.012, "search": 0.008},
                }
            ]
        }
    )  # fmt: skip

    hits: list[HitOut]
    has_more: bool
    rows: int = Field(description="Images in the collection.")
    notes: list[str] = Field(description="What the asker should know: a text longer than the model reads.")
    seconds: Seconds

    @classmethod
    def of(cls, results: Results) -> SearchResponse:
        """Results of `pipelines`."""
        seconds = Seconds(total=results.seconds, embed=results.embed_seconds, search=results.search_seconds)
        hits = [HitOut.of(hit) for hit in results.hits]
        return cls(hits=hits, has_more=results.has_more, rows=results.rows, notes=list(results.notes), seconds=seconds)


class ColumnOut(BaseModel):
    """A column that hits carry and filters may name."""

    name: str
    type: Literal["int", "float", "bool", "text"]


class InfoResponse(BaseModel):
    """What the collection holds."""

    collection: str
    rows: int
    model: str
    dim: int
    index: str
    metric: str
    columns: list[ColumnOut]


class ErrorResponse(BaseModel):
    """What was wrong, on one line."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "filter, character 7: expected a column"}]})

    error: str


class StatusResponse(BaseModel):
    """A probe's answer."""

    status: Literal["ok", "unavailable"]
    reason: str = ""

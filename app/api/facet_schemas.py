"""Requests and responses of the facets."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, Field

from pipelines.query import MAX_LIMIT
from pipelines.search.facets import MOST_FOLDERS, Facets

from .schema_types import ColumnType, ImageId
from .schemas import SuggestionOut


class FacetOptions(BaseModel):
    """Which images are counted, and by what."""

    filter: str = Field(
        "", max_length=20_000, description="Count the images of this filter; for a column, without its own condition."
    )
    id: list[ImageId] = Field([], max_length=MAX_LIMIT, description="Count only these of them: ids of hits.")
    column: list[str] = Field([], max_length=200, description="Columns; all by default.")
    folder: str = Field("", max_length=4_000, description="Start the tree of folders here.")
    folders: int = Field(MOST_FOLDERS, ge=0, le=MOST_FOLDERS, description="Folders of the tree, the upper ones first.")


class ValueOut(BaseModel):
    """A value and the number of images that have it."""

    value: str | bool
    count: int


class MonthOut(BaseModel):
    """A month, 1 to 12, and its images."""

    month: int
    count: int


class YearOut(BaseModel):
    """A year, its images and its months."""

    year: int
    count: int
    months: list[MonthOut]


class FolderOut(BaseModel):
    """A folder, the images in it at any depth, and its subfolders; `is_cut` if some of these are left out."""

    path: str
    name: str
    count: int
    folders: list[FolderOut]
    is_cut: bool


class FacetOut(BaseModel):
    """What a column holds: values of texts and bools, the range of numbers and dates, the years of dates."""

    name: str
    type: ColumnType
    values: list[ValueOut] = Field(description="Those of most images first, at most 500 of `distinct`.")
    distinct: int = Field(description="How many values a text has.")
    low: float | str | None = Field(description="The smallest number or first day in the whole collection.")
    high: float | str | None
    years: list[YearOut] = Field(description="The last one first.")
    empty: int = Field(description="Images without a value.")


class FacetsResponse(BaseModel):
    """Counts of the images that a filter leaves."""

    total: int = Field(description="Images that the filter leaves.")
    rows: int = Field(description="Images in the collection.")
    age: float = Field(description="Seconds since the counted columns were known to be up to date.")
    columns: list[FacetOut]
    folders: list[FolderOut] = Field(description="The tree, from the first folder that branches.")
    suggestions: list[SuggestionOut]

    @classmethod
    def of(cls, facets: Facets) -> FacetsResponse:
        """Convert facets of `pipelines`."""
        columns = []
        for facet in facets.columns:
            given = asdict(facet)
            field = given.pop("field")
            years = [
                {**year, "months": [{"month": m, "count": n} for m, n in year["months"]]} for year in given["years"]
            ]
            columns.append(FacetOut(**{**given, "years": years}, name=field["name"], type=field["type"].value))
        return cls(
            total=facets.total, rows=facets.rows, age=facets.age, columns=columns,
            folders=[FolderOut(**asdict(folder)) for folder in facets.folders],
            suggestions=[SuggestionOut(**found._asdict()) for found in facets.suggestions],
        )  # fmt: skip

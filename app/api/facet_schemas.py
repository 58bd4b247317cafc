"""Requests and responses of `/api/facets`."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, Field

from pipelines.query import MAX_LIMIT
from pipelines.search.facets import MOST_FOLDERS, Facets

from .schema_types import ColumnType, ImageId
from .schemas import SuggestionOut


class FacetOptions(BaseModel):
    """Which images to count, and by which columns and folders."""

    filter: str = Field(
        "", max_length=20_000, description="Count images that match. Each column ignores its own condition."
    )
    id: list[ImageId] = Field([], max_length=MAX_LIMIT, description="Count only these of them, such as ids of hits.")
    column: list[str] = Field([], max_length=200, description="Columns to count; all by default.")
    folder: str = Field("", max_length=4_000, description="Start the folder tree at this folder.")
    folders: int = Field(MOST_FOLDERS, ge=0, le=MOST_FOLDERS, description="Most folders to return, upper ones first.")


class ValueOut(BaseModel):
    """A value and the number of images that have it."""

    value: str | bool
    count: int


class MonthOut(BaseModel):
    """A month (1 to 12) and the number of its images."""

    month: int
    count: int


class YearOut(BaseModel):
    """A year, the number of its images, and its months."""

    year: int
    count: int
    months: list[MonthOut]


class FolderOut(BaseModel):
    """A folder, the number of images in it at any depth, and its subfolders; `is_cut` if some are left out."""

    path: str
    name: str
    count: int
    folders: list[FolderOut]
    is_cut: bool


class FacetOut(BaseModel):
    """What a column contains: the values of text and bool, the range of numbers and dates, the years of dates."""

    name: str
    type: ColumnType
    values: list[ValueOut] = Field(description="Values with the most images first; at most 500 of the `distinct` ones.")
    distinct: int = Field(description="Number of distinct values of a text or bool column.")
    low: float | str | None = Field(description="The smallest number or first day in the whole collection.")
    high: float | str | None
    years: list[YearOut] = Field(description="The latest year first.")
    empty: int = Field(description="Number of images without a value.")


class FacetsResponse(BaseModel):
    """Counts of the images that match a filter."""

    total: int = Field(description="Number of images that match the filter.")
    rows: int = Field(description="Number of images in the collection.")
    age: float = Field(description="Seconds since the counted columns were known to be up to date.")
    columns: list[FacetOut]
    folders: list[FolderOut] = Field(description="The folder tree, from the first folder that branches.")
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

"""The filter form: columns as fields, the form as a filter, and a filter as the form."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest

from app.filter_form import fill_form, read_form
from app.form_fields import Column, describe_columns
from app.search_state import SearchState
from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.milvus.column_reader import arrow_type
from pipelines.milvus.filter_expression import to_expression
from pipelines.query import parse_filter
from pipelines.search.column_table import ColumnTable
from pipelines.search.facets import Facets, column_facets, folder_tree
from pipelines.search.matching import Matched
from tests.support.page import HOSTILE_KIND

FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, True), Field("rating", FieldType.FLOAT),
    Field("featured", FieldType.BOOL), Field("note", FieldType.TEXT), Field("kind", FieldType.TEXT),
    Field("taken", FieldType.DATE, True),
)  # fmt: skip
ROWS = [
    {"id": number, "path": f"/photos/{number % 3}/{number}.jpg", "label": f"label {number % 40}", "rating": number / 10,
     "year": None if number == 0 else 2000 + number % 20, "featured": number % 2 == 0, "note": f"no. {number}",
     "kind": HOSTILE_KIND if number % 2 else "plain",
     "taken": None if number == 0 else 1_577_836_800_000 + number * 40_000_000}
    for number in range(100)
]  # fmt: skip


def facets_of(rows: list[dict[str, Any]]) -> Facets:
    """Return the facets of a collection with these rows."""
    path, types = Field("path", FieldType.TEXT, key="path"), {"id": pa.int64()}
    types |= {field.key: arrow_type(field) for field in (path, *FIELDS)}
    cells = [{"id": row["id"], "path": row["path"], **{field.key: row[field.name] for field in FIELDS}} for row in rows]
    table = ColumnTable(pa.Table.from_pylist(cells, pa.schema(list(types.items()))), path, FIELDS, keys=False)
    everything = np.ones(len(rows), bool)
    columns, folders = column_facets(table, Matched(None, table, everything)), folder_tree(table, everything)
    return Facets(len(rows), len(rows), columns, folders, ())


UNLABELLED = [{**row, "label": "", "year": None} for row in ROWS]
COLUMNS = describe_columns(facets_of(ROWS), lite=True)


def test_each_column_becomes_a_field_of_its_kind() -> None:
    kinds = {column.name: column.kind for column in COLUMNS}
    assert kinds == {
        "label": "many", "year": "number", "rating": "number", "featured": "bool", "note": "text", "kind": "choices",
        "taken": "date", "path": "folder",
    }  # fmt: skip
    by_name = {column.name: column for column in COLUMNS}
    assert (by_name["year"].low, by_name["year"].high) == (2000, 2019)
    assert (by_name["taken"].low, by_name["taken"].high) == ("2020-01-01", "2020-02-15")

    def values(name: str) -> list[str]:
        return [value for value, _ in by_name[name].choices]

    assert values("kind") == [HOSTILE_KIND, "plain"]
    assert values("path") == ["/photos/0", "/photos/1", "/photos/2"]
    assert {"label", "year"}.isdisjoint(column.name for column in describe_columns(facets_of(UNLABELLED), lite=True))


@pytest.mark.parametrize(
    ("form", "conditions", "text"),
    [
        ({}, "", ""),
        ({"label": {"values": ["label 1"]}}, "", 'label == "label 1"'),
        ({"label": {"values": ["a", 'b" or id > 0']}}, "", r'label in ["a", "b\" or id > 0"]'),
        ({"year": {"low": "2004", "high": "2010"}}, "", "year >= 2004 and year <= 2010"),
        ({"rating": {"low": "1.5"}, "featured": {"values": ["false"]}}, "", "rating >= 1.5 and featured == false"),
        ({"note": {"words": "100%"}, "path": {"words": "/a/b"}}, "", 'note contains "100%" and path under "/a/b"'),
        ({"featured": {"values": ["true", "false"]}}, "", ""),
        ({"taken": {"low": "2019-05-01", "high": "2019-12-31"}}, "",
         'taken >= "2019-05-01" and taken < "2020-01-01"'),
        ({"year": {"low": "2004"}}, "rating > 3 or not featured",
         "year >= 2004 and (rating > 3 or not (featured == true))"),
    ],
)  # fmt: skip
def test_a_form_and_its_filter_say_the_same(form: dict[str, Any], conditions: str, text: str) -> None:
    written = read_form(COLUMNS, form, conditions)
    assert str(written or "") == text
    if not text:
        return
    to_expression(parse_filter(text), FIELDS, lite=True)
    filled = fill_form(COLUMNS, parse_filter(text))
    assert str(read_form(COLUMNS, filled.chosen, filled.conditions)) == text
    assert set(filled.chosen) == set(form)
    assert bool(filled.conditions) == bool(conditions)


@pytest.mark.parametrize(
    "text",
    [
        "year > 2000",
        'label != "a"',
        "year >= 1 and year >= 2",
        "nonsense (",
        "id == 5",
        "taken <= 2020",
        'taken >= "2020-05-01T10:00"',
        "taken < 2020 and taken < 2021",
        "taken == 2020",
    ],
)
def test_an_operand_that_fits_no_field_stays_a_condition(text: str) -> None:
    state = SearchState.from_url("?" + urlencode({"filter": text}))
    assert text.split(" and ")[-1] in fill_form(COLUMNS, state.filter, state.filter_text).conditions


def test_on_a_server_texts_are_matched_from_their_start() -> None:
    columns = describe_columns(facets_of(ROWS), lite=False)
    written = read_form(columns, {"note": {"words": "no. 1"}}, "")
    assert str(written) == 'note startswith "no. 1"'
    assert fill_form(columns, written).chosen == {"note": {"words": "no. 1"}}


def test_days_of_a_filter_in_any_form_fill_the_fields_of_a_date() -> None:
    filled = fill_form(COLUMNS, parse_filter("taken >= 2019 and taken < '1 March 2020'"))
    assert filled == ({"taken": {"low": "2019-01-01", "high": "2020-02-29"}}, "")


def test_a_bound_that_is_not_a_date_is_named() -> None:
    with pytest.raises(InputError, match="'soon' is not a date as 2019-05-01; the column 'taken' holds dates"):
        read_form(COLUMNS, {"taken": {"high": "soon"}}, "")


@pytest.mark.parametrize("form", [{"year": {"low": "old"}}, {"rating": {"high": "1e"}}])
def test_a_bound_that_is_not_a_number_is_named(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is not a number; the column"):
        read_form(COLUMNS, form, "")


@pytest.mark.parametrize(
    "form", [{"year": "2004"}, {"label": {"values": "a"}}, {"label": {"values": [1, None]}}, {"x": {}}]
)
def test_a_malformed_form_is_empty(form: dict[str, Any]) -> None:
    assert read_form(COLUMNS, form, "  ") is None


def test_large_whole_numbers_keep_their_digits() -> None:
    column = Column("n", "number", is_integer=True)
    written = read_form([column], {"n": {"low": str(2**60 + 1)}}, "")
    assert str(written) == f"n >= {2**60 + 1}"
    assert fill_form([column], written).chosen == {"n": {"low": str(2**60 + 1)}}

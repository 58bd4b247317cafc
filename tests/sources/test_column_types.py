"""A column of dates is recognised in any form, and `--types` decides what the cells do not."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.errors import InputError
from pipelines.fields import FieldType, format_date
from pipelines.sources import open_source
from pipelines.sources.column_types import parse_types


def table(csv_of, *cells: str, name: str = "x") -> Path:
    return csv_of(f"path;{name}\n" + "".join(f"{i}.jpg;{cell}\n" for i, cell in enumerate(cells)))


def column(source, *types: str) -> tuple[FieldType, list[object]]:
    """Return the type of the first column and its values, with dates as text."""
    opened = open_source(source, types=parse_types(types))
    field = opened.fields[0]
    values = [next(iter(row.fields.values())) for chunk in opened.chunks(100) for row in chunk]
    is_date = field.type is FieldType.DATE
    return field.type, [format_date(value) if is_date and value is not None else value for value in values]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2020-05-01", " 1999-12-31 "], ["2020-05-01", "1999-12-31"]),
        (["2020-05-01", "2020-05-01T10:11:12Z", "1 May 2020"], ["2020-05-01", "2020-05-01T10:11:12", "2020-05-01"]),
        (["2020:05:01 10:11:12", "2020:05:02 00:00:00"], ["2020-05-01T10:11:12", "2020-05-02"]),
        (["2020-05-01", "NA", "", "-", "null"], ["2020-05-01", None, None, None, None]),
        (["01/02/2020", "31/01/2020"], ["2020-02-01", "2020-01-31"]),
        (["01/02/2020", "01/31/2020"], ["2020-01-02", "2020-01-31"]),
        (["01/02/2020", "01.02.2020"], ["2020-02-01", "2020-02-01"]),
        (["01/02/2020", "2020-01-31", "1/13/2020"], ["2020-01-02", "2020-01-31", "2020-01-13"]),
        (["05/05/2020", "2020-06-06"], ["2020-05-05", "2020-06-06"]),
    ],
)
def test_dates_that_the_column_decides_are_dates(cells: list[str], expected: list[object], csv_of) -> None:
    assert column(table(csv_of, *cells)) == (FieldType.DATE, expected)


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-05-01", "2020-02-30"],
        ["13/12/2020", "12/13/2020"],
        ["01.02.2020", "12/13/2020"],
        ["2020-05-01", "soon"],
        ["2020-05-01", "2020"],
        ["01.05.20", "02.05.20"],
    ],
)
def test_a_column_that_is_not_all_dates_stays_as_it_is_written(cells: list[str], csv_of) -> None:
    assert column(table(csv_of, *cells, "NA")) == (FieldType.TEXT, [*cells, "NA"])
    assert open_source(table(csv_of, *cells)).findings.notes == []


def test_days_and_months_that_cannot_be_told_apart_stay_text_and_the_option_is_named(csv_of) -> None:
    path = table(csv_of, "01/02/2020", "03/04/2020", "", name="taken on")
    assert column(path) == (FieldType.TEXT, ["01/02/2020", "03/04/2020", ""])
    (note,) = open_source(path).findings.notes
    assert "column 'taken on'" in note
    assert "--types 'taken on=date:dmy' or date:mdy" in note
    assert column(path, "taken on=date:dmy") == (FieldType.DATE, ["2020-02-01", "2020-04-03", None])
    assert column(path, "taken on=date:mdy") == (FieldType.DATE, ["2020-01-02", "2020-03-04", None])
    for said in ("date:mdy", "text"):
        assert open_source(path, types=parse_types([f"taken on={said}"])).findings.notes == []
    for open_path in (path, table(csv_of, "13/12/2020", "12/13/2020", name="taken on")):
        with pytest.raises(InputError, match=r"day or the month first; say which by --types 'taken on=date:dmy'"):
            open_source(open_path, types=parse_types(["taken on=date"]))


@pytest.mark.parametrize(
    ("cells", "type", "expected"),
    [
        (["01234", "+5", " -7 ", "NA"], "int", [1234, 5, -7, None]),
        (["1", "2.5", "1e3", "-"], "float", [1.0, 2.5, 1000.0, None]),
        (["1", "0", "yes", "No", "TRUE", ""], "bool", [True, False, True, False, True, None]),
        (["1", "NA"], "text", ["1", "NA"]),
        (["20200501", "2020-05-02"], "date:ymd", ["2020-05-01", "2020-05-02"]),
        (["13/12/2020", "May 1, 2020"], "date", ["2020-12-13", "2020-05-01"]),
        (["", "NA"], "date", [None, None]),
    ],
)
def test_a_type_that_is_asked_for_is_taken(cells: list[str], type: str, expected: list[object], csv_of) -> None:
    assert column(table(csv_of, *cells), f"x={type}") == (FieldType(type.partition(":")[0]), expected)


@pytest.mark.parametrize(
    ("cells", "type", "row"),
    [
        (["1", "x", "y"], "int", "row 3, column 'x': 'x' is no int"),
        (["1.5"], "int", "row 2, column 'x': '1.5' is no int"),
        ([str(-(2**63))], "int", "row 2"),
        (["1_000"], "float", "row 2"),
        (["1e999"], "float", "row 2"),
        (["inf"], "float", "row 2"),
        (["2"], "bool", "row 2"),
        (["2020-05-01", "2020-02-30"], "date", "row 3, column 'x': '2020-02-30' is no date"),
        (["01/13/2020"], "date:dmy", "row 2, column 'x': '01/13/2020' is no date:dmy"),
        (["01.02.2020"], "date:mdy", "row 2"),
        (["13/12/2020"], "date:ymd", "row 2"),
    ],
)
def test_a_cell_that_does_not_fit_the_type_is_named_by_row_and_column(
    cells: list[str], type: str, row: str, csv_of
) -> None:
    with pytest.raises(InputError) as caught:
        column(table(csv_of, *cells), f"x={type}")
    assert row in str(caught.value)


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["x"], "COLUMN=TYPE"),
        (["x=int", "x=float"], "once for each column"),
        (["x=number"], "there is no type 'number'; there are: int, float, bool, date, text, date:dmy"),
        (["x=int:dmy"], "there is no type 'int:dmy'"),
        (["x=date:dym"], "there is no type 'date:dym'"),
        (["y=int"], "there is no column 'y'"),
        (["path=text"], "there is no column 'path'"),
        (["label=int"], "there is no column 'label'"),
    ],
)
def test_a_type_that_cannot_be_had_is_refused(types: list[str], words: str, csv_of, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--types") as caught:
        open_source(csv_of("path,label,x\na,1,1\n"), types=parse_types(types))
    assert words in str(caught.value)


def test_a_folder_has_no_columns_to_type(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--types: there is no column 'x'"):
        open_source(tmp_path, types=parse_types(["x=int"]))


MOMENTS = [datetime.datetime(2020, 5, 1, 10, 11, 12, 500_000), None, datetime.datetime(1999, 12, 31)]
SHOWN = ["2020-05-01T10:11:12.500", None, "1999-12-31"]


def test_dates_of_json_lines_parquet_and_dataframes_are_dates(csv_of, tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": ["a", "b", "c"], "x": MOMENTS})
    frame.to_parquet(tmp_path / "x.parquet")
    lines = [json.dumps({"path": f"{i}", "x": moment and moment.isoformat()}) for i, moment in enumerate(MOMENTS)]
    days = pd.DataFrame({"path": ["a", "b"], "x": [datetime.date(2020, 5, 1), datetime.date(1999, 12, 31)]})
    days.to_parquet(tmp_path / "days.parquet")
    for source in (frame, tmp_path / "x.parquet", csv_of("\n".join(lines), "x.jsonl")):
        assert column(source) == (FieldType.DATE, SHOWN)
    for source in (days, tmp_path / "days.parquet"):
        assert column(source) == (FieldType.DATE, ["2020-05-01", "1999-12-31"])
    zoned = pd.DataFrame({"path": ["a"], "x": pd.to_datetime(["2020-05-01 10:00+02:00"])})
    assert column(zoned) == (FieldType.DATE, ["2020-05-01T08:00:00"])

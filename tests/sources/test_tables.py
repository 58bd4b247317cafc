"""JSON Lines, Parquet and DataFrames are read as a CSV with the same cells would be, by the same checks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.errors import InputError
from pipelines.fields import FieldType
from pipelines.sources import open_source
from tests.support.sources import rows_of

RECORDS = [
    {"id": 7, "path": "a.jpg", "label": ' cat, "grey"\nold', "year": 2020, "sold": True, "zip": "0123"},
    {"id": 8, "path": "b.jpg", "label": "", "year": None, "sold": False, "zip": "4567"},
    {"id": 9, "path": "c.jpg", "label": "Füße", "year": 1999, "sold": None, "zip": "89"},
]
FIELDS = {
    "label": FieldType.TEXT, "year": FieldType.INT, "sold": FieldType.BOOL, "zip": FieldType.TEXT,
}  # fmt: skip


def frame() -> pd.DataFrame:
    """Return the records with types that can hold an empty cell."""
    return pd.DataFrame(RECORDS).astype({"year": "Int64", "sold": "boolean"})


def json_lines(folder: Path) -> Path:
    path = folder / "photos.jsonl"
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS), encoding="utf-8")
    return path


def parquet(folder: Path) -> Path:
    frame().to_parquet(folder / "photos.parquet")
    return folder / "photos.parquet"


def tab_separated(folder: Path) -> Path:
    frame().to_csv(folder / "photos.tsv", sep="\t", index=False, quoting=1)
    return folder / "photos.tsv"


@pytest.mark.parametrize("write", [json_lines, parquet, tab_separated, lambda folder: frame()])
def test_each_kind_of_table_gives_the_same_rows(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = write(tmp_path)
    source = open_source(table)
    assert {field.name: field.type for field in source.fields} == FIELDS
    assert source.total == 3
    assert [(row.id, row.path) for row in rows_of(table)] == [(7 + i, f"{tmp_path}/{'abc'[i]}.jpg") for i in range(3)]
    assert [row.fields for row in rows_of(table)] == [
        {**{name: record[name] for name in FIELDS}, "label": record["label"]} for record in RECORDS
    ]


def test_row_numbers_of_json_lines_are_its_lines(csv_of) -> None:
    table = csv_of('{"path": "a"}\n\n{"n": 1, "path": "b"}\n', "a.jsonl")
    assert [(row.line, row.fields) for row in rows_of(table)] == [(1, {"n": None}), (3, {"n": 1})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"path": "a"}\n{"path": \n', "row 2: not a JSON object in UTF-8"),
        ('{"path": "a"}\n[1]\n', "row 2: not a JSON object in UTF-8"),
        ('{"path": "a"}\n5\n', "row 2: not a JSON object in UTF-8"),
        (b'{"path": "\xff"}\n', "row 1: not a JSON object in UTF-8"),
        ('{"path": "a"}\n{"path": "./a"}\n', "rows 1 and 2, column 'path': the same path twice"),
        ('{"path": "a"}\n{"id": " ", "path": "b"}\n', "row 1, column 'id': the id is missing"),
        ('{"where": "a"}\n', "there is no column 'path' (the columns are: where)"),
        ("", "there is no column 'path'"),
    ],
)
def test_a_mistake_in_json_lines_is_named_by_file_and_row(content: str | bytes, words: str, csv_of) -> None:
    path = csv_of(content, "a.jsonl")
    with pytest.raises(InputError) as caught:
        open_source(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_a_parquet_file_that_is_none_is_refused(csv_of) -> None:
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file that can be read"):
        open_source(csv_of("path\na.jpg\n", "a.parquet"))


def test_a_named_index_of_a_dataframe_is_a_column_and_any_other_is_none(tmp_path: Path) -> None:
    assert [row.id for row in rows_of(frame().set_index("id"))] == [7, 8, 9]
    assert [row.id for row in rows_of(frame().iloc[1:])] == [8, 9]
    frame().iloc[1:].to_parquet(tmp_path / "a.parquet")
    assert [row.fields["year"] for row in rows_of(tmp_path / "a.parquet")] == [None, 1999]


def test_a_dataframe_that_lacks_a_path_is_refused() -> None:
    with pytest.raises(InputError, match="the DataFrame, row 1: there is no column 'path'"):
        open_source(pd.DataFrame({"where": ["a.jpg"]}))


def test_a_table_on_the_web_is_told_by_its_suffix(web_server) -> None:
    web_server.files["photos.jsonl?key=1"] = b'{"path": "a.jpg", "n": 3}\n'
    base = f"{web_server.url}/files"
    rows = rows_of(f"{base}/photos.jsonl?key=1", allow_private=True)
    assert [(row.path, row.fields) for row in rows] == [(f"{base}/a.jpg", {"n": 3})]

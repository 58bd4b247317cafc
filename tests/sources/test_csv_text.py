"""A CSV is read whatever its encoding and separator, and its columns get the narrowest type that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.fields import FieldType, field_key
from pipelines.sources import open_source
from pipelines.sources.source import Row
from tests.support.sources import rows_of

INT, FLOAT, BOOL, TEXT = FieldType.INT, FieldType.FLOAT, FieldType.BOOL, FieldType.TEXT

PLAIN = 'id,path,label\n1,a.jpg,"cat, ""grey"""\n2,b.jpg,Füße\n'

VARIANTS = {
    "plain": PLAIN.encode(),
    "bom": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16-be": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "crlf": PLAIN.replace("\n", "\r\n").encode(),
    "cr": PLAIN.replace("\n", "\r").encode(),
    "no last newline": PLAIN.rstrip().encode(),
    "semicolons": b'id;path;label\n1;a.jpg;"cat, ""grey"""\n2;b.jpg;' + "Füße\n".encode(),
    "tabs": b'id\tpath\tlabel\n1\ta.jpg\t"cat, ""grey"""\n2\tb.jpg\t' + "Füße\n".encode(),
    "quoted header": b'"id","path","label"' + PLAIN[13:].encode(),
    "spaces": 'id, path, label\n1, a.jpg, "cat, ""grey"""\n 2, b.jpg, Füße\n'.encode(),
    "trailing commas": 'id,path,label,,\n1,a.jpg,"cat, ""grey""",,\n2,b.jpg,Füße,,\n,,,,\n'.encode(),
    "separator line": b'sep=;\r\nid;path;label\r\n1;a.jpg;"cat, ""grey"""\r\n2;b.jpg;' + "Füße\r\n".encode(),
    "quoted separator line": b'"sep=|"\nid|path|label\n1|a.jpg|"cat, ""grey"""\n2|b.jpg|' + "Füße\n".encode(),
    "utf-16-le without a mark": PLAIN.encode("utf-16-le"),
    "utf-16-be without a mark": PLAIN.encode("utf-16-be"),
    "spreadsheet's unicode text": PLAIN.replace(",", "\t", 2)
    .replace("1,a.jpg,", "1\ta.jpg\t")
    .replace("2,b.jpg,", "2\tb.jpg\t")
    .encode("utf-16"),
    "pandas' index": ',id,path,label\n0,1,a.jpg,"cat, ""grey"""\n1,2,b.jpg,Füße\n'.encode(),
    "pandas' index, read and written again": b'Unnamed: 0,id,path,label\n0,1,a.jpg,"cat, ""grey"""\n1,2,b.jpg,'
    + "Füße\n".encode(),
    "empty lines": PLAIN.encode() + b"\n\n",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_way_a_csv_is_written_gives_the_same_rows(variant: str, csv_of, tmp_path: Path) -> None:
    rows = rows_of(csv_of(VARIANTS[variant]))
    header = 2 if "separator line" in variant else 1
    assert rows == [
        Row(1, f"{tmp_path}/a.jpg", header + 1, {"label": 'cat, "grey"'}),
        Row(2, f"{tmp_path}/b.jpg", header + 2, {"label": "Füße"}),
    ]


def test_quoted_newlines_commas_and_quotes_are_part_of_the_cell(csv_of, tmp_path: Path) -> None:
    path = csv_of('"path","the, label"\n"a\nb.jpg","two\r\nlines"\nc.jpg,5" nail\n')
    assert [row.path for row in rows_of(path)] == [f"{tmp_path}/a\nb.jpg", f"{tmp_path}/c.jpg"]
    assert [row.fields for row in rows_of(path)] == [
        {field_key("the, label", FieldType.TEXT): text} for text in ("two\r\nlines", '5" nail')
    ]


def test_row_numbers_are_those_of_a_spreadsheet(csv_of) -> None:
    path = csv_of('path,label\n\na.jpg,"two\nlines"\n,\n\nb.jpg,x\n')
    assert [row.line for row in rows_of(path)] == [3, 6]


def test_missing_cells_at_the_end_of_a_row_are_empty(csv_of) -> None:
    assert [row.fields for row in rows_of(csv_of("path,label,n\na.jpg\nb.jpg,x,3\n"))] == [
        {"label": "", "n": None},
        {"label": "x", "n": 3},
    ]


# --- Types -----------------------------------------------------------------------------------------------------------


def column(path: Path, name: str) -> tuple[FieldType, bool, list[object]]:
    """Return a column's type, whether it has gaps, and its values."""
    field = next(field for field in open_source(path).fields if field.name == name)
    return field.type, field.has_gaps, [row.fields[name] for row in rows_of(path)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("1 -2 0", (INT, False, [1, -2, 0])),
        ("1 2.5 -.5 1e3", (FLOAT, False, [1.0, 2.5, -0.5, 1000.0])),
        ("true False TRUE", (BOOL, False, [True, False, True])),
        ("1 _ 3", (INT, True, [1, None, 3])),
        ("true _", (BOOL, True, [True, None])),
        ("a _", (TEXT, True, ["a", ""])),
        ("_ _", (TEXT, True, ["", ""])),
        ("true 1", (TEXT, False, ["true", "1"])),
        ("01234 99999", (TEXT, False, ["01234", "99999"])),
        ("+4930123 110", (TEXT, False, ["+4930123", "110"])),
        ("12345678901234567890 1", (TEXT, False, ["12345678901234567890", "1"])),
        ("123456789012345678 1", (INT, False, [123456789012345678, 1])),
        ("123456789012345678 1.5", (TEXT, False, ["123456789012345678", "1.5"])),
        ("1e999 1", (TEXT, False, ["1e999", "1"])),
        ("nan 1", (INT, True, [None, 1])),
        ("NA 1.5 N/A - null None", (FLOAT, True, [None, 1.5, None, None, None, None])),
        ("- true", (BOOL, True, [None, True])),
        ("NA 1 x", (TEXT, False, ["NA", "1", "x"])),
        ("NA 01", (TEXT, False, ["NA", "01"])),
        ("1,5 2,5", (TEXT, False, ["1,5", "2,5"])),
        ("٣ 1", (TEXT, False, ["٣", "1"])),
        ("1_000 1", (TEXT, False, ["1_000", "1"])),
        ("NA NULL", (TEXT, False, ["NA", "NULL"])),
    ],
)
def test_a_columns_type_is_the_narrowest_that_keeps_every_cell(cells: str, expected: tuple, csv_of) -> None:
    values = ["" if cell == "_" else cell for cell in cells.split(" ")]
    path = csv_of("path;x\n" + "".join(f"{i}.jpg;{value}\n" for i, value in enumerate(values)))
    assert column(path, "x") == expected


def test_numbers_with_blanks_around_them_are_numbers(csv_of) -> None:
    path = csv_of('path,n,x,b\na," 7 ",1.5 , true \nb,8 ,"  ",false\n')
    assert column(path, "n") == (INT, False, [7, 8])
    assert column(path, "x") == (FLOAT, True, [1.5, None])
    assert column(path, "b") == (BOOL, False, [True, False])


def test_labels_are_text_even_if_they_look_like_numbers(csv_of) -> None:
    assert column(csv_of("path,label\na,7\nb,\n"), "label") == (TEXT, True, ["7", ""])


def test_a_cell_in_the_last_row_can_change_the_type_of_the_column(csv_of) -> None:
    path = csv_of("path,n\n" + "".join(f"{i}.jpg,{i}\n" for i in range(25_000)) + "last.jpg,x\n")
    assert column(path, "n")[0] is TEXT

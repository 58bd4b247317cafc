"""Sources: a CSV or a folder is read as its owner means it, or refused in one line that says where to look."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.sources.source import Row, open_source, path_id

INT, FLOAT, BOOL, TEXT = FieldType.INT, FieldType.FLOAT, FieldType.BOOL, FieldType.TEXT


@pytest.fixture
def csv_of(tmp_path: Path):
    """Writes a CSV; text is UTF-8."""

    def write(content: str | bytes, name: str = "photos.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def rows_of(path: Path, chunk: int = 1000, limit: int = 0) -> list[Row]:
    return list(chain.from_iterable(open_source(path, limit).chunks(chunk)))


def column(path: Path, name: str) -> tuple[FieldType, bool, list[object]]:
    """A column's type, whether it has gaps, and its values."""
    field = next(field for field in open_source(path).fields if field.name == name)
    return field.type, field.has_gaps, [row.fields[name] for row in rows_of(path)]


def refusal(path: Path, limit: int = 0) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(InputError) as caught:
        open_source(path, limit)
    message = str(caught.value)
    assert "\n" not in message
    assert os.fspath(path) in message
    return message.replace(os.fspath(path), "FILE")


# --- How files are written -------------------------------------------------------------------------------------------

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
    "empty lines": PLAIN.encode() + b"\n\n",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_way_a_csv_is_written_gives_the_same_rows(variant: str, csv_of, tmp_path: Path) -> None:
    rows = rows_of(csv_of(VARIANTS[variant]))
    assert rows == [
        Row(1, f"{tmp_path}/a.jpg", 2, {"label": 'cat, "grey"'}),
        Row(2, f"{tmp_path}/b.jpg", 3, {"label": "Füße"}),
    ]


def test_quoted_newlines_commas_and_quotes_are_part_of_the_cell(csv_of, tmp_path: Path) -> None:
    path = csv_of('"path","the, label"\n"a\nb.jpg","two\r\nlines"\nc.jpg,5" nail\n')
    assert [row.path for row in rows_of(path)] == [f"{tmp_path}/a\nb.jpg", f"{tmp_path}/c.jpg"]
    assert [row.fields for row in rows_of(path)] == [{"the_label": "two\r\nlines"}, {"the_label": '5" nail'}]


def test_row_numbers_are_those_a_spreadsheet_shows(csv_of) -> None:
    path = csv_of('path,label\n\na.jpg,"two\nlines"\n,\n\nb.jpg,x\n')
    assert [row.line for row in rows_of(path)] == [3, 6]


def test_missing_cells_at_the_end_of_a_row_are_empty(csv_of) -> None:
    assert [row.fields for row in rows_of(csv_of("path,label,n\na.jpg\nb.jpg,x,3\n"))] == [
        {"label": "", "n": None},
        {"label": "x", "n": 3},
    ]


# --- Ids and paths ---------------------------------------------------------------------------------------------------


def test_derived_ids_depend_on_the_absolute_path_alone(csv_of, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    here = rows_of(csv_of("path\nsub/a.jpg\nsub/../b.jpg\n"))
    there = rows_of(csv_of(f"label,path\nx,{tmp_path}/b.jpg\ny,a.jpg\n", "sub/other.csv"))
    assert [row.id for row in here] == [there[1].id, there[0].id]
    assert path_id("/photos/a.jpg") == 214002434225164391  # never to change: it is what collections hold


def test_derived_ids_are_distinct_and_fit_a_signed_64_bit_number(csv_of) -> None:
    ids = [row.id for row in rows_of(csv_of("path\n" + "".join(f"{i}.jpg\n" for i in range(5000))))]
    assert len(set(ids)) == 5000
    assert 0 <= min(ids) < max(ids) < 2**63
    assert max(ids) > 2**62


def test_paths_are_relative_to_the_csv_or_to_home_or_absolute(csv_of, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir("/")
    rows = rows_of(csv_of("path\npics/a.jpg\n~/b.jpg\n/c.jpg\n"))
    assert [row.path for row in rows] == [f"{tmp_path}/pics/a.jpg", "/home/somebody/b.jpg", "/c.jpg"]
    monkeypatch.chdir(tmp_path)
    assert rows_of(Path("photos.csv")) == rows


def test_rows_without_a_path_are_no_duplicates_of_each_other(csv_of) -> None:
    assert [row.path for row in rows_of(csv_of("path,label\n,x\n,y\n"))] == ["", ""]


def test_given_ids_span_64_bits(csv_of) -> None:
    ids = [-(2**63), -1, 0, 2**63 - 1]
    assert [row.id for row in rows_of(csv_of("path,id\n" + "".join(f"{i}.jpg,{i}\n" for i in ids)))] == ids


# --- Types -----------------------------------------------------------------------------------------------------------


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
        ("nan 1", (TEXT, False, ["nan", "1"])),
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


def test_labels_are_text_also_where_they_look_like_numbers(csv_of) -> None:
    assert column(csv_of("path,label\na,7\nb,\n"), "label") == (TEXT, True, ["7", ""])


def test_a_type_seen_late_counts_for_all_rows(csv_of) -> None:
    path = csv_of("path,n\n" + "".join(f"{i}.jpg,{i}\n" for i in range(25_000)) + "last.jpg,x\n")
    assert column(path, "n")[0] is TEXT


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_size_of_the_chunks_changes_nothing(chunk: int, csv_of) -> None:
    path = csv_of("path,n,label\n" + "".join(f"{i}.jpg,{i if i % 7 else ''},l{i}\n" for i in range(100)))
    chunks = list(open_source(path).chunks(chunk))
    assert {len(one) for one in chunks[:-1]} <= {chunk}
    assert list(chain.from_iterable(chunks)) == rows_of(path, 10_000)
    assert open_source(path).total == 100


def test_a_limit_takes_the_first_rows_and_looks_no_further(csv_of) -> None:
    path = csv_of("path,n\na,1\nb,2\na,x\n")
    source = open_source(path, limit=2)
    assert (source.total, source.fields) == (2, (Field("n", INT),))
    assert [row.fields["n"] for row in rows_of(path, 1, limit=2)] == [1, 2]


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,file\n1,a.jpg\n", "FILE, row 1: there is no column 'path' (the columns are: id, file)"),
        ("", "FILE is empty"),
        ("\n\n \n", "FILE is empty"),
        (b"\xef\xbb\xbf", "FILE is empty"),
        (b"\xff\xfe\n\0", "FILE is empty"),
        ("id,path\n", "FILE has a header but no rows"),
        ("id,path\n5,a\n7,b\n7,c\n5,d\n", "FILE, rows 3 and 4, column 'id': the same id 7 twice (2 repeats in all)"),
        ("id,path\n1,a\n9,b\n\n9,c\n", "FILE, rows 3 and 5, column 'id': the same id 9 twice"),
        ("path\na.jpg\nb.jpg\n./b.jpg\n", "FILE, rows 3 and 4, column 'path': the same path twice"),
        ("id,path\n1,a\nx2,b\n", "FILE, row 3, column 'id': 'x2' is not a whole number"),
        ("id,path\n1,a\n,b\n", "FILE, row 3, column 'id': '' is not a whole number"),
        ("id,path\n1.0,a\n", "FILE, row 2, column 'id': '1.0' is not a whole number"),
        ("id,path\n1_0,a\n", "FILE, row 2, column 'id': '1_0' is not a whole number"),
        (f"id,path\n{2**63},a\n", f"FILE, row 2, column 'id': '{2**63}' is not a whole number of 64 bits"),
        ("path,label\na,x\nb,é\n".encode("latin-1"), "FILE, row 3, column 'label': byte 0xe9 is not UTF-8"),
        ('path,label\na,"x\ny"\nb,é'.encode("latin-1"), "FILE, row 3, column 'label': byte 0xe9 is not UTF-8"),
        ("path,é\na,x\n".encode("latin-1"), "FILE, row 1, column '"),
        ("path\n".encode("utf-16") + b"\0", "FILE is neither UTF-8 nor whole UTF-16"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "FILE is not a CSV (it holds binary data)"),
        ("path,label\na,x,y\n", "FILE, row 2: 3 cells for 2 columns"),
        ("path,label\na,x\n\nb,x,,y\n", "FILE, row 4: 4 cells for 2 columns"),
        ('path,label\na,x\nb,"x\nc,x\n', "FILE, row 3: unexpected end of data"),
        ("path,label,label\na,x,y\n", "FILE, row 1: there are two columns 'label'"),
        ("path,path\na,x\n", "FILE, row 1: there are two columns 'path'"),
        ("path,a b,a_b\na,x,y\n", "FILE, row 1: two columns become the field 'a_b'; rename 'a_b'"),
        (",path\n0,a\n", "FILE, row 1: column 1 has no name"),
        ("path,embedding\na,1\n", "FILE, row 1: a column cannot be named 'embedding'"),
        ("path,€€\na,1\n", "FILE, row 1: a column cannot be named '€€'"),
        ("path,x\n" * 2 + "a,1\n" * 2, "FILE, rows 3 and 4, column 'path'"),
    ],
)
def test_each_refusal_names_the_file_the_row_and_the_column(content: str | bytes, words: str, csv_of) -> None:
    assert refusal(csv_of(content)).startswith(words)


def test_what_is_neither_a_csv_nor_a_folder_is_refused(csv_of, tmp_path: Path) -> None:
    assert "is an image: give a CSV of paths" in refusal(csv_of(b"\xff\xd8\xff", "cat.JPG"))
    assert refusal(tmp_path / "missing.csv") == "there is no file or folder FILE"
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refusal(tmp_path / "pipe.csv")
    assert "there is no file or folder" in refusal(tmp_path / ("x" * 300))


def test_a_file_that_changes_under_the_run_is_refused_in_one_line(csv_of) -> None:
    source = open_source(csv_of("path,n\na,1\nb,2\n"))
    csv_of("path,n\na,1\nb,two\n")
    with pytest.raises(InputError, match=r"row 3: the file was changed"):
        list(source.chunks(10))


# --- Columns and collections -----------------------------------------------------------------------------------------


def test_column_names_become_fields_that_a_filter_can_name(csv_of) -> None:
    path = csv_of("path,Shot at (UTC),2x,_hidden,ID\na,1,2,3,4\n")
    assert [field.name for field in open_source(path).fields] == ["Shot_at_UTC", "c_2x", "hidden", "ID"]


# --- Folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_walked_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "cats/2.jpg", "cats/1.webp", "cats/old/3.jpg", "birds/4.avif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in (".hidden.jpg", ".git/5.jpg", "cats/notes.txt", "x.jpg/6.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = rows_of(tmp_path)
    assert [(os.path.relpath(row.path, tmp_path), row.fields["label"], row.line) for row in rows] == [
        ("a.png", "", 1),
        ("b.JPG", "", 2),
        ("birds/4.avif", "birds", 3),
        ("cats/1.webp", "cats", 4),
        ("cats/2.jpg", "cats", 5),
        ("cats/old/3.jpg", "old", 6),
        ("x.jpg/6.jpg", "x.jpg", 7),
    ]
    assert rows_of(tmp_path, 2) == rows
    assert rows_of(tmp_path, limit=3) == rows[:3]
    assert open_source(tmp_path, 3).total == 3
    assert rows[4].id == path_id(f"{tmp_path}/cats/2.jpg")


def test_a_folder_and_a_csv_give_an_image_the_same_id(csv_of, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert rows_of(csv_of("path\na.jpg\n"))[0].id == rows_of(tmp_path)[0].id


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert refusal(tmp_path).startswith("there is no image in FILE (looked for .avif .bmp")


# --- Size ------------------------------------------------------------------------------------------------------------

# VmHWM and not ru_maxrss: the latter starts with the peak of the process that forked.
_COUNT = """
import re, sys
from pipelines.sources.source import open_source
source = open_source(sys.argv[1])
count = sum(map(len, source.chunks(1000)))
print(source.total, count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


def test_a_million_rows_need_hardly_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    peaks = {}
    for rows in (10_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        with open(path, "w") as file:
            file.write("path,label,views\n")
            file.writelines(f"photos/{i}.jpg,label {i % 1000},{i}\n" for i in range(rows))
        done = subprocess.run(
            [sys.executable, "-c", _COUNT, path], capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        total, count, peaks[rows] = map(int, re.findall(r"\d+", done.stdout))
        assert (total, count) == (rows, rows)
    print(f"peak memory: {peaks} MB")
    assert peaks[1_000_000] - peaks[10_000] < 100

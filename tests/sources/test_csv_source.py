"""A CSV is read as its owner means it, or refused in one line that names the file, the row and the column."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.fields import Field, FieldType, row_id
from pipelines.sources import open_source
from pipelines.sources.csv_text import PATH_COLUMNS
from pipelines.sources.source import path_id
from tests.support.photos import write_csv
from tests.support.program import run_code
from tests.support.sources import refusal, rows_of

# --- Ids and paths ---------------------------------------------------------------------------------------------------


def test_derived_ids_depend_on_the_absolute_path_alone(csv_of, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    here = rows_of(csv_of("path\nsub/a.jpg\nsub/../b.jpg\n"))
    there = rows_of(csv_of(f"label,path\nx,{tmp_path}/b.jpg\ny,a.jpg\n", "sub/other.csv"))
    assert [row.id for row in here] == [there[1].id, there[0].id]
    assert path_id("/photos/a.jpg") == 214002434225164391  # must never change, because collections hold it


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


def test_two_dots_behind_a_link_lead_where_the_system_goes(csv_of, tmp_path: Path) -> None:
    (tmp_path / "deep" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "photos")
    source = open_source(csv_of("path\nlink/../a.jpg\nphotos/../b.jpg\nlink/c.jpg\n"))
    paths = [row.path for chunk in source.chunks(9) for row in chunk]
    assert paths == [f"{tmp_path}/deep/a.jpg", f"{tmp_path}/b.jpg", f"{tmp_path}/link/c.jpg"]


def test_rows_without_a_path_are_no_duplicates_of_each_other(csv_of) -> None:
    assert [row.path for row in rows_of(csv_of("path,label\n,x\n,y\n"))] == ["", ""]


def test_given_ids_may_use_all_64_bits(csv_of) -> None:
    ids = [-(2**63), -1, 0, 2**63 - 1]
    assert [row.id for row in rows_of(csv_of("path,id\n" + "".join(f"{i}.jpg,{i}\n" for i in ids)))] == ids


def test_ids_that_are_no_plain_numbers_are_kept_as_texts(csv_of) -> None:
    texts = ["SKU-1", "007", "+5", "1.0", "1_0", "-0", "٣", str(2**63), "c2c1e7f0-0000-4000-8000-000000000000", "a b"]
    rows = rows_of(csv_of("path,id\nn.jpg,7\n" + "".join(f"{n}.jpg,{text}\n" for n, text in enumerate(texts))))
    assert [row.shown_id for row in rows] == ["7", *texts]
    assert [row.fields for row in rows] == [{"_key": ""}, *({"_key": text} for text in texts)]
    assert [row.id for row in rows] == [7, *(row_id(text) for text in texts)]
    assert len({row.id for row in rows}) == len(rows)


def test_ids_can_be_derived_from_the_paths_instead(csv_of) -> None:
    table = csv_of("id,path\nx,/a.jpg\nx,/b.jpg\n")
    assert [row.id for row in rows_of(table, ids_from_path=True)] == [path_id("/a.jpg"), path_id("/b.jpg")]


def test_the_id_of_an_image_on_the_web_comes_from_its_url(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", ["path"], [["https://host/a.jpg"], ["https://host/b.jpg"]])
    assert [row.id for row in rows_of(table)] == [path_id("https://host/a.jpg"), path_id("https://host/b.jpg")]
    table = write_csv(tmp_path / "b.csv", ["path"], [["https://host/a.jpg"]] * 2)
    with pytest.raises(InputError, match="rows 2 and 3, column 'path': the same path twice"):
        open_source(table)


# --- Columns and chunks ----------------------------------------------------------------------------------------------


def test_columns_keep_their_own_names(csv_of) -> None:
    names = ["Shot at (UTC)", "2x", "_hidden", "ID", "a b", "a_b", "embedding", "€€", "日付", "in"]
    path = csv_of(f"path,{','.join(names)}\na,1,2,3,4,5,6,7,8,9,10\n")
    assert [field.name for field in open_source(path).fields] == names
    assert list(rows_of(path)[0].fields.values()) == [*range(1, 11)]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_size_of_the_chunks_does_not_change_the_rows(chunk: int, csv_of) -> None:
    path = csv_of("path,n,label\n" + "".join(f"{i}.jpg,{i if i % 7 else ''},l{i}\n" for i in range(100)))
    chunks = list(open_source(path).chunks(chunk))
    assert {len(one) for one in chunks[:-1]} <= {chunk}
    assert list(chain.from_iterable(chunks)) == rows_of(path, 10_000)
    assert open_source(path).total == 100


def test_a_limit_takes_the_first_rows_with_the_types_of_all_rows(csv_of) -> None:
    path = csv_of("path,n,m\na,1,1\nb,2,2\na,x,3\n")
    source = open_source(path, limit=2)
    assert (source.total, source.fields) == (2, (Field("n", FieldType.TEXT), Field("m", FieldType.INT)))
    assert [row.fields for row in rows_of(path, 1, limit=2)] == [{"n": "1", "m": 1}, {"n": "2", "m": 2}]


@pytest.mark.parametrize("name", PATH_COLUMNS)
def test_a_usual_name_of_the_path_counts_where_no_column_is_named_so(name: str, csv_of, tmp_path: Path) -> None:
    path = csv_of(f"n,{name}\n1,a.jpg\n")
    assert [(row.path, row.fields) for row in rows_of(path)] == [(f"{tmp_path}/a.jpg", {"n": 1})]
    assert open_source(path).findings.notes == [f"the column '{name}' holds the paths"]


def test_an_exact_path_always_wins(csv_of, tmp_path: Path) -> None:
    path = csv_of("filename,path,image\nx,a.jpg,y\n")
    assert [(row.path, row.fields) for row in rows_of(path)] == [(f"{tmp_path}/a.jpg", {"filename": "x", "image": "y"})]
    assert open_source(path).findings.notes == []


def test_an_option_names_the_column_of_paths(csv_of, tmp_path: Path) -> None:
    path = csv_of("file,Bild\nx,a.jpg\nx,./a.jpg\n")
    with pytest.raises(InputError, match="column 'Bild': the same path twice"):
        open_source(path, path_column="Bild")
    row = rows_of(path, limit=1, path_column="Bild")[0]
    assert (row.path, row.fields) == (f"{tmp_path}/a.jpg", {"file": "x"})
    with pytest.raises(InputError, match="there is no column 'Photo'"):
        open_source(path, path_column="Photo")


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,fle\n1,a.jpg\n", "FILE, row 1: there is no column 'path' (the columns are: id, fle)"),
        ("id,file,url\n1,a,b\n", "FILE: the paths may be in file or url: name one with --path-column"),
        ("file,file\n1,a\n", "FILE, row 1: there are two columns 'path'"),
        ("", "FILE is empty"),
        ("\n\n \n", "FILE is empty"),
        (b"\xef\xbb\xbf", "FILE is empty"),
        (b"\xff\xfe\n\0", "FILE is empty"),
        ("id,path\n", "FILE has a header but no rows"),
        ("id,path\n5,a\n7,b\n7,c\n5,d\n", "FILE, rows 3 and 4, column 'id': the same id 7 twice (2 repeats in all)"),
        ("id,path\n1,a\n9,b\n\n9,c\n", "FILE, rows 3 and 5, column 'id': the same id 9 twice"),
        ("path\na.jpg\nb.jpg\n./b.jpg\n", "FILE, rows 3 and 4, column 'path': the same path twice"),
        ("id,path\n1,a\n,b\n", "FILE, row 3, column 'id': the id is missing"),
        ("id,path\nSKU-1,a\n7,b\nSKU-1,c\n", "FILE, rows 2 and 4, column 'id': the same id SKU-1 twice"),
        ("path,label\na,x\nb,é\n".encode("latin-1"), "FILE, row 3, column 'label': byte 0xe9 is not UTF-8"),
        ('path,label\na,"x\ny"\nb,é'.encode("latin-1"), "FILE, row 3, column 'label': byte 0xe9 is not UTF-8"),
        ("path,é\na,x\n".encode("latin-1"), "FILE, row 1, column '"),
        ("path\n".encode("utf-16") + b"\0", "FILE is neither UTF-8 nor whole UTF-16"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "FILE is not a CSV (it holds binary data)"),
        ("path,label\na,x,y\n", "FILE, row 2: 3 cells for 2 columns"),
        ("path,label\na,x\n\nb,x,,y\n", "FILE, row 4: 4 cells for 2 columns"),
        ('path,label\na,x\nb,"x\nc,x\n', "FILE, row 3: unexpected end of data"),
        ("path,gr\u00f6ße,gro\u0308ße\na,x,y\n", "FILE, row 1: there are two columns 'gr\u00f6ße'"),
        ("path,label,label\na,x,y\n", "FILE, row 1: there are two columns 'label'"),
        ("path,path\na,x\n", "FILE, row 1: there are two columns 'path'"),
        ("path,,n\na,0,1\n", "FILE, row 1: column 2 has no name"),
        (f"path,{'€' * 60}\na,1\n", f"FILE, row 1: the column name '{'€' * 30}…' is too long for Milvus; shorten it"),
        ("path,x\n" * 2 + "a,1\n" * 2, "FILE, rows 3 and 4, column 'path'"),
    ],
)
def test_each_refusal_names_the_file_the_row_and_the_column(content: str | bytes, words: str, csv_of) -> None:
    assert refusal(csv_of(content)).startswith(words)


def test_a_file_that_changes_during_the_run_is_refused_in_one_line(csv_of) -> None:
    source = open_source(csv_of("path,n\na,1\nb,2\n"))
    csv_of("path,n\na,1\nb,two\n")
    with pytest.raises(InputError, match=r"row 3: the file was changed"):
        list(source.chunks(10))


# --- Size ------------------------------------------------------------------------------------------------------------


# VmHWM and not ru_maxrss, because the latter starts with the peak of the process that forked.
_COUNT = """
import re, sys
from pipelines.sources import open_source
source = open_source(sys.argv[1])
count = sum(map(len, source.chunks(1000)))
print(source.total, count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


@pytest.mark.slow
def test_a_million_rows_need_hardly_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    peaks = {}
    for rows in (10_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        with open(path, "w") as file:
            file.write("path,label,views\n")
            file.writelines(f"photos/{i}.jpg,label {i % 1000},{i}\n" for i in range(rows))
        done = run_code(_COUNT, path)
        assert done.status == 0, done.err[-2000:]
        total, count, peaks[rows] = map(int, re.findall(r"\d+", done.out))
        assert (total, count) == (rows, rows)
    print(f"peak memory: {peaks} MB")
    assert peaks[1_000_000] - peaks[10_000] < 100

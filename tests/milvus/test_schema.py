"""The fields of a collection: sources of a row, versions, and cells on a Milvus without NULL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus import DataType
from pymilvus.client import type_info
from pymilvus.client.cache import GlobalCache

from pipelines.errors import StoreError
from pipelines.fields import Field, FieldType
from pipelines.milvus import schema
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close_all

FIELDS = (
    Field("label", FieldType.TEXT),
    Field("Größe (cm)", FieldType.FLOAT),
    Field("in", FieldType.INT),
    Field("featured", FieldType.BOOL),
    Field("taken", FieldType.DATE, from_file=True),
)


@given(st.lists(st.text(st.characters(exclude_characters="\n"), min_size=1), unique=True))
def test_the_sources_of_a_row_are_read_as_they_were_written(names: list[str]) -> None:
    assert schema.split_sources(schema.join_sources(names)) == tuple(names)


def test_one_source_is_written_as_it_was_in_version_1() -> None:
    assert schema.join_sources(["/photos"]) == "/photos"
    assert schema.split_sources("") == ()


def test_pymilvus_looks_up_each_type_of_field_once(tmp_path: Path) -> None:
    assert not Collection(str(tmp_path / "s.db"), "images").client.list_collections()
    for dtype in DataType:
        if dtype in type_info.TYPE_INFO:
            assert type_info.get_type_info(dtype) is type_info.TYPE_INFO[dtype] is type_info.get_type_info(int(dtype))
    assert type_info.is_scalar_type(DataType.VARCHAR)
    assert not type_info.is_scalar_type(DataType.FLOAT_VECTOR)
    assert type_info.is_scalar_type.cache_info().hits + type_info.get_type_info.cache_info().hits > 0
    close_all()


def test_a_collection_of_a_newer_version_is_refused_in_one_line() -> None:
    description = {"collection_name": "photos", "fields": [{"name": "_schema_3"}, {"name": "_schema_2"}]}
    with pytest.raises(StoreError, match=r"'photos' was made by a newer version .*schema 3.*pip install --upgrade"):
        schema.read_version(description)


def check_columns(uri: str) -> None:
    """Check that columns and cells come back as they were given, whether or not this Milvus stores NULL."""
    collection = Collection(uri, "columns")
    if collection.exists():
        collection.drop()
    collection.create(4, FIELDS)
    stored = collection.fields()
    assert [(field.name, field.type, field.from_file) for field in stored] == [
        (field.name, field.type, field.from_file) for field in FIELDS
    ]
    assert stored == schema.as_stored(FIELDS, collection.has_null)
    system = {schema.PATH: "/a.png", schema.MTIME_NS: 1, schema.SIZE: 2, schema.MODEL: "m", schema.HASH: ""}
    system |= {schema.SOURCE: "/photos", **schema.ADDED, schema.EMBEDDING: [1.0, 0.0, 0.0, 0.0]}
    cells = [["a cat", 12.5, -3, False, 1_588_291_200_000], ["", None, None, None, None]]
    rows = [
        {schema.ID: number, **system, **{field.key: cell for field, cell in zip(stored, row, strict=True)}}
        for number, row in enumerate(cells)
    ]
    collection.upsert(rows)
    keys = [field.key for field in stored]
    assert [[row[key] for key in keys] for row in collection.get([0, 1], keys).values()] == cells
    found = collection.search([[1.0, 0.0, 0.0, 0.0]], 2, output_fields=keys)[0]
    assert sorted((hit[2:] for hit in found), key=str) == sorted(cells, key=str)
    assert [[row[key] for key in keys] for rows in collection.scan("", keys) for row in rows] == cells
    collection.drop()


def test_milvus_lite_stores_every_type_and_name(tmp_path: Path) -> None:
    check_columns(str(tmp_path / "types.db"))
    close_all()


def test_a_server_stores_every_type_and_name(milvus_server: str) -> None:
    check_columns(milvus_server)


def test_what_a_source_calls_a_column_decides_its_key() -> None:
    assert [field.key for field in FIELDS] == [
        "label",
        "x__Gr_f6__df_e_20__28_cm_29_",
        "x__in",
        "featured",
        "xdf__taken",
    ]
    assert replace(FIELDS[3], key="").key == "featured"


def test_a_file_does_not_get_the_columns_of_another_that_had_its_address(tmp_path: Path) -> None:
    collection = Collection(str(tmp_path / "images.db"), "images")
    collection.create(4, ())
    # pymilvus caches schemas by address, and a server started later may get the address of one that was stopped.
    GlobalCache.schema.set("127.0.0.1:1", "", "images", {"fields": [{"name": "year", "nullable": True}]})
    close_all()
    assert collection.fields() == ()
    assert len(GlobalCache.schema) == 0
    close_all()

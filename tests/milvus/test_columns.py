"""How the columns of a collection and of a source come together."""

from __future__ import annotations

import pytest

from pipelines.fields import Field, FieldType
from pipelines.milvus.columns import adopt, converter, merge, with_own_names

TEXT, INT, FLOAT, BOOL, DATE = FieldType.TEXT, FieldType.INT, FieldType.FLOAT, FieldType.BOOL, FieldType.DATE


@pytest.mark.parametrize(
    ("stored", "source", "both"),
    [
        (INT, INT, INT),
        (INT, FLOAT, FLOAT),
        (FLOAT, INT, FLOAT),
        (TEXT, INT, TEXT),
        (BOOL, INT, TEXT),
        (DATE, TEXT, TEXT),
    ],
)
def test_a_column_gets_the_type_that_holds_both(stored: FieldType, source: FieldType, both: FieldType) -> None:
    assert merge([Field("a", stored)], [Field("a", source)]) == (Field("a", both),)


def test_new_columns_come_after_those_of_the_collection() -> None:
    stored = (Field("b", INT), Field("a", TEXT))
    source = (Field("c", DATE), Field("a", INT))
    columns = merge(stored, source)
    assert columns == (Field("b", INT), Field("a", TEXT), Field("c", DATE))
    assert adopt(source, columns) == (Field("c", DATE), Field("a", TEXT))


def test_cells_follow_the_type_of_their_column() -> None:
    stored = [Field("n", INT), Field("b", BOOL), Field("d", DATE), Field("f", FLOAT)]
    columns = [Field("n", FLOAT), Field("b", TEXT), Field("d", TEXT), Field("f", TEXT), Field("new", INT)]
    convert = converter(stored, columns)
    assert convert({"n": 1, "b": True, "xd__d": 0, "f": 0.5}) == {
        "n": 1.0,
        "b": "true",
        "d": "1970-01-01",
        "f": "0.5",
        "new": None,
    }
    assert convert(dict.fromkeys(("n", "b", "xd__d", "f"))) == {"n": None, "b": "", "d": "", "f": "", "new": None}


def test_columns_of_version_1_get_the_names_that_a_source_has_for_them() -> None:
    stored = [Field("Gr_e_cm", INT), Field("c_2020", INT), Field("label", TEXT)]
    source = [Field("Größe cm", INT), Field("2020", INT)]
    assert [field.name for field in with_own_names(stored, source)] == ["Größe cm", "2020", "label"]

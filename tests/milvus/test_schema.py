"""Which columns of a source a collection can store."""

from __future__ import annotations

import pytest

from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.milvus.schema import reconcile

TEXT, INT, FLOAT, BOOL = FieldType.TEXT, FieldType.INT, FieldType.FLOAT, FieldType.BOOL


def test_a_source_takes_the_types_its_collection_has() -> None:
    stored = (Field("label", TEXT), Field("n", FLOAT, has_gaps=True), Field("code", TEXT))
    assert reconcile((Field("n", INT, True), Field("code", INT)), stored) == (
        Field("n", FLOAT, True),
        Field("code", TEXT),
    )
    for wrong in (Field("missing", TEXT), Field("n", TEXT), Field("n", BOOL)):
        with pytest.raises(InputError, match=f"'{wrong.name}'"):
            reconcile((wrong,), stored)
    with pytest.raises(InputError, match="empty cells"):
        reconcile((Field("n", INT, has_gaps=True),), (Field("n", INT, has_gaps=False),))

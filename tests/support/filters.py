"""Columns and random filters for the tests of filters."""

from __future__ import annotations

from hypothesis import strategies as st

from pipelines.fields import Field, FieldType
from pipelines.milvus.filter_expression import to_expression
from pipelines.query import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under, parse_filter

# Column names that a filter quotes in backticks, and some that it does not.
ODD_NAMES = (
    "Größe (cm)",
    "描述",
    "हिन्दी",
    "😀",
    "not",
    "In",
    "true",
    "like",
    "a`b",
    "``",
    "2x",
    "embedding",
    "_hash",
    "x\ny",
    '"',
)
FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, has_gaps=True), Field("price", FieldType.FLOAT),
    Field("sold", FieldType.BOOL), Field("taken", FieldType.DATE, has_gaps=True),
    *(Field(name, FieldType.INT) for name in ODD_NAMES),
)  # fmt: skip


def parse_checked(text: str) -> Filter:
    """Parse a filter on FIELDS, as for a Milvus Lite collection."""
    return parse_filter(text, lambda comparison: to_expression(comparison, FIELDS, lite=True))


any_text = st.text(max_size=12)
leaves: st.SearchStrategy[Filter] = (
    st.builds(Compare, st.just("label"), st.sampled_from(["==", "!=", "<", ">="]), any_text)
    | st.builds(Compare, st.just("year"), st.sampled_from(["==", "<=", ">"]), st.integers(-(2**62), 2**62))
    | st.builds(Compare, st.just("price"), st.just("<"), st.floats(allow_nan=False, allow_infinity=False))
    | st.builds(OneOf, st.just("label"), st.lists(any_text, min_size=1, max_size=3).map(tuple))
    | st.builds(StartsWith, st.just("label"), any_text.filter(bool))
    | st.builds(Contains, st.just("label"), any_text.filter(lambda text: text and "\\" not in text))  # refused on Lite
    | st.builds(Under, any_text.filter(lambda text: text and "\0" not in text))
    | st.builds(IsEmpty, st.sampled_from(["label", "year"]))
    | st.builds(Compare, st.just("sold"), st.just("=="), st.booleans())
    | st.builds(Compare, st.just("taken"), st.just(">="), st.sampled_from(["2019", "2019-05-01", "2019-05-01T10:00Z"]))
    | st.builds(Compare, st.sampled_from(ODD_NAMES), st.just("<="), st.integers(0, 9))
    | st.builds(OneOf, st.sampled_from(ODD_NAMES), st.tuples(st.integers(0, 9)))
    | st.builds(IsEmpty, st.sampled_from(ODD_NAMES))
)


def _joined(kind: type[And] | type[Or], some: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    return st.lists(some, min_size=2, max_size=3).map(lambda operands: kind(tuple(operands)))


filters = st.recursive(
    leaves, lambda some: st.builds(Not, some) | _joined(And, some) | _joined(Or, some), max_leaves=6
)  # fmt: skip

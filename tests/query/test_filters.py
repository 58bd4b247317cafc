"""Filters as values and as text: read, read back as they were written, and combined."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.query import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, parse_filter
from tests.support.filters import filters, parse_checked

quick = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("label = 1", 7, "equality is written =="),
        ("year == " + "9" * 5000, 9, "means nothing"),
        ("year >", 7, "the filter ends"),
        ("(year > 1", 10, "expected '.'"),
        ('label == "x', 10, "closing quote"),
        ('label == "\\q"', 11, "no escape"),
        ("year in []", 10, "expected a text"),
        ("year in [1", 11, "expected ']'"),
        ("label like 'a%'", 7, "use startswith or contains"),
        ("label under 'a'", 7, "for the column path"),
        ("year > 1 year", 10, "expected 'and', 'or' or the end"),
        ("year > 1; drop", 9, "means nothing"),
        ("not " * 50 + "sold", 161, "nested deeper"),
        ("", 1, "expected a column"),
        ("`a", 1, "closing quote"),
        ("`` > 1", 1, "closing quote"),
        ("😀 > 1", 1, "is written in backticks: `😀`"),
        ("“x” > 1", 1, "is written in backticks"),
        ("taken > 2019-5", 13, "here is '-5'"),
        ("taken > 2019-05-01-02", 13, "here is '-05'"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_where_and_what(text: str, position: int, reason: str) -> None:
    with pytest.raises(InputError) as error:
        parse_filter(text)
    message = str(error.value)
    assert message.startswith(f"filter, character {position}: ")
    assert reason.replace("'.'", "')'") in message
    assert "\n" not in message


@quick
@given(filters)
def test_every_filter_is_read_back_as_it_was_written(filter: Filter) -> None:
    assert parse_checked(str(filter)) == filter


@quick
@given(st.text(alphabet="ab`ö \"'\\()[]=<>!&|,.1-yearlabelnotinsd", max_size=40))
def test_any_filter_text_is_a_filter_or_one_clear_error(text: str) -> None:
    try:
        parsed = parse_checked(text)
    except InputError:
        return
    assert parse_checked(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Größe > 3", Compare("Größe", ">", 3)),
        ("`Größe (cm)` > 3", Compare("Größe (cm)", ">", 3)),
        ("描述 is empty", IsEmpty("描述")),
        ("हिन्दी", Compare("हिन्दी", "==", True)),
        ("`a``b` in [1]", OneOf("a`b", (1,))),
        ("not `not` and `in` in [1]", And((Not(Compare("not", "==", True)), OneOf("in", (1,))))),
        ("in in [1] or like >= 1", Or((OneOf("in", (1,)), Compare("like", ">=", 1)))),
        ("taken >= 2019-05-01", Compare("taken", ">=", "2019-05-01")),
        ("taken in [2019-05, '2019-06-01T10:00']", OneOf("taken", ("2019-05", "2019-06-01T10:00"))),
        ("taken<2019-05-01T10:00:30.5+02:00", Compare("taken", "<", "2019-05-01T10:00:30.5+02:00")),
    ],
)
def test_columns_of_any_name_and_dates_are_read(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected
    assert parse_filter(str(expected)) == expected


@quick
@given(st.text(min_size=1))
def test_a_column_of_any_name_is_read_back_as_it_was_written(name: str) -> None:
    for filter in (
        Compare(name, "==", 1),
        Not(OneOf(name, (1,))),
        Not(IsEmpty(name)),
        Contains(name, "x"),
        ~Compare(name, "==", True),
    ):
        assert parse_filter(str(filter)) == filter


def test_filters_combine_in_python() -> None:
    cat, new, sold = Compare("label", "==", "cat"), Compare("year", ">=", 2020), Compare("sold", "==", True)
    assert (cat & new & ~sold) == And((cat, new, Not(sold)))
    assert str((cat | new) & ~sold) == '(label == "cat" or year >= 2020) and not (sold == true)'

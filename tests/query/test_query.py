"""The query language and filters as text: what is read, what is never misread, and that both come back as written."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.query import (
    And,
    Compare,
    Contains,
    Filter,
    IsEmpty,
    Not,
    OneOf,
    Or,
    Part,
    Query,
    StartsWith,
    Under,
    format_query,
    parse_filter,
    parse_query,
)  # fmt: skip
from pipelines.search.paging import collect_page, fold_duplicates

FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, has_gaps=True), Field("price", FieldType.FLOAT),
    Field("sold", FieldType.BOOL),
)  # fmt: skip
quick = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("beach -people", (Part("beach"), Part("people", weight=-1))),
        ('beach -"many people"', (Part("beach"), Part("many people", weight=-1))),
        ("white beach +sunset", (Part("white beach"), Part("sunset"))),
        ("beach 2*sunset -0.5*people at night",
         (Part("beach at night"), Part("sunset", weight=2), Part("people", weight=-0.5))),
        ("id:42 -2*id:-7", (Part(id=42), Part(id=-7, weight=-2))),
        ("-people", (Part("people", weight=-1),)),
        ("海滩 -人", (Part("海滩"), Part("人", weight=-1))),
        (r'+"say \"no\" \\ -x"', (Part('say "no" \\ -x'),)),
        ("-t-shirt", (Part("t-shirt", weight=-1),)),
    ],
)  # fmt: skip
def test_query_language(text: str, parts: tuple[Part, ...]) -> None:
    assert parse_query(text) == parts
    assert parse_query(format_query(parts)) == parts


@pytest.mark.parametrize(
    "text",
    ["t-shirt", "black-and-white", "- 5 degrees", "-5 degrees", "3-door car", "a -- b", "rock -n- roll", "2*4 planks",
     "2 * 3", "1+1", "1 + 1", "+49 30", "C++", 'a sign that says "stop"', '"quoted words"', "dash – and − minus",
     "id: 5", "void:5", "user-id:5", 'open -"quote', "a*b", "*star*", "-", "+", "5*", "-*x", "e=mc^2", "a- b", "-- x"],
)  # fmt: skip
def test_plain_text_is_never_misread(text: str) -> None:
    assert parse_query(text) == (Part(" ".join(text.split())),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "some words"), (" \n", "some words"), ("0*dog", "weight"), ("5000*dog", "weight"), ('-""', "some words"),
     ("id:9999999999999999999", "64 bits"), ("x" * 4001, "4,000 characters")],
)  # fmt: skip
def test_queries_that_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_query(text)


weights = st.floats(0.001, 1000).map(lambda size: size) | st.sampled_from([1.0, 0.5, 2.0])
texts = st.text(min_size=1, max_size=30).filter(str.strip) | st.sampled_from(
    ["-people", "2*x", 'a "b" c', "\\", 'x\\"', "id:4", "t-shirt", "+a b", "two  spaces", " padded ", "new\nline"]
)
signed = st.builds(lambda size, sign: size * sign, weights, st.sampled_from([1, -1]))
parts = st.builds(lambda text, weight: Part(text, weight=weight), texts, signed) | st.builds(
    lambda number, weight: Part(id=number, weight=weight), st.integers(-(2**63), 2**63 - 1), signed
)


@quick
@given(st.lists(parts, min_size=1, max_size=5))
def test_every_query_is_read_back_as_it_was_written(parts: list[Part]) -> None:
    assert parse_query(format_query(parts)) == tuple(parts)


@quick
@given(st.text(alphabet='ab -+*"\\:1.id\n', max_size=40))
def test_any_line_is_a_query_or_one_clear_error(text: str) -> None:
    try:
        parts = parse_query(text)
    except InputError:
        return
    assert parse_query(format_query(parts)) == parts


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ('label == "cat" and year >= 2020', '(label == "cat") and (year >= 2020)'),
        ("label == 'cat' && !(year < 2020)", '(label == "cat") and ((year >= 2020 or year is null))'),
        ("year != 2020", "(year != 2020 or year is null)"),
        ("not (year == 2020 or sold)", "((year != 2020 or year is null)) and (sold != true)"),
        ("year not in [1, 2]", "(year not in [1, 2] or year is null)"),
        ("price < 5", "price < 5.0"),
        ("year == 2020.0", "year == 2020"),
        ("sold in [true]", "(sold == true)"),
        ("not sold", "sold != true"),
        ("year is not empty", "year is not null"),
        ("price is empty", "id in []"),
        ('label contains "100%_"', 'label like "%100\\\\%\\\\_%"'),
        ('path under "/photos/2020/"', '(path >= "/photos/2020/" and path < "/photos/20200")'),
        ('not path under "/a/../b"', '(path < "/b/" or path >= "/b0")'),
        ('label startswith "ca"', '(label >= "ca" and label < "ca\U0010ffff")'),
        ("a_or_b == 1 or not_c == 2", None),
    ],
)  # fmt: skip
def test_filters_become_milvus_expressions(text: str, expression: str | None) -> None:
    if expression is None:
        with pytest.raises(InputError, match="'a_or_b'"):
            parse_filter(text, FIELDS)
        return
    assert parse_filter(text, FIELDS).to_milvus(FIELDS) == expression


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("lable == 1", 1, "no column 'lable'; the columns are: label, year, price, sold, path, id"),
        ("label = 1", 7, "equality is written =="),
        ("label == 1", 7, "'label' holds text, not 1"),
        ("year == 'x'", 6, "'year' holds whole numbers"),
        ("year == 99999999999999999999", 6, "64 bits"),
        ("year == 1e400", 6, "not inf"),
        ("year == " + "9" * 5000, 9, "means nothing"),
        ("sold > true", 6, "== or !="),
        ("year >", 7, "the filter ends"),
        ("(year > 1", 10, "expected '.'"),
        ('label == "x', 10, "closing quote"),
        ('label == "\\q"', 11, "no escape"),
        ("year in []", 10, "expected a text"),
        ("year in [1", 11, "expected ']'"),
        ("label like 'a%'", 7, "use startswith or contains"),
        ("year contains 'a'", 6, "whole numbers, not text"),
        ("label under 'a'", 7, "for the column path"),
        ("year > 1 year", 10, "expected 'and', 'or' or the end"),
        ("year > 1; drop", 9, "means nothing"),
        ("label == '\ud800'", 7, "not valid UTF-8"),
        ("not " * 50 + "sold", 161, "nested deeper"),
        ("", 1, "expected a column"),
    ],
)  # fmt: skip
def test_a_wrong_filter_says_where_and_what(text: str, position: int, reason: str) -> None:
    with pytest.raises(InputError) as error:
        parse_filter(text, FIELDS)
    message = str(error.value)
    assert message.startswith(f"filter, character {position}: ")
    assert reason.replace("'.'", "')'") in message
    assert "\n" not in message


def test_servers_are_not_asked_for_what_they_cannot() -> None:
    with pytest.raises(InputError, match="a Milvus server cannot look inside texts"):
        Contains("label", "x").to_milvus(FIELDS, lite=False)
    assert Under("/p").to_milvus(FIELDS, lite=False)


any_text = st.text(max_size=12)
leaves: st.SearchStrategy[Filter] = (
    st.builds(Compare, st.just("label"), st.sampled_from(["==", "!=", "<", ">="]), any_text)
    | st.builds(Compare, st.just("year"), st.sampled_from(["==", "<=", ">"]), st.integers(-(2**62), 2**62))
    | st.builds(Compare, st.just("price"), st.just("<"), st.floats(allow_nan=False, allow_infinity=False))
    | st.builds(OneOf, st.just("label"), st.lists(any_text, min_size=1, max_size=3).map(tuple))
    | st.builds(StartsWith, st.just("label"), any_text.filter(bool))
    | st.builds(Contains, st.just("label"), any_text.filter(lambda text: text and "\\" not in text))  # refused on Lite
    | st.builds(Under, any_text.filter(bool))
    | st.builds(IsEmpty, st.sampled_from(["label", "year"]))
    | st.builds(Compare, st.just("sold"), st.just("=="), st.booleans())
)


def joined(kind: type[And] | type[Or], some: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    return st.lists(some, min_size=2, max_size=3).map(lambda operands: kind(tuple(operands)))


filters = st.recursive(
    leaves, lambda some: st.builds(Not, some) | joined(And, some) | joined(Or, some), max_leaves=6
)  # fmt: skip


@quick
@given(filters)
def test_every_filter_is_read_back_as_it_was_written(filter: Filter) -> None:
    assert parse_filter(str(filter), FIELDS) == filter


@quick
@given(st.text(alphabet="ab \"'\\()[]=<>!&|,.1-yearlabelnotinsd", max_size=40))
def test_any_filter_text_is_a_filter_or_one_clear_error(text: str) -> None:
    try:
        parsed = parse_filter(text, FIELDS)
    except InputError:
        return
    assert parse_filter(str(parsed), FIELDS) == parsed


def test_filters_combine_in_python() -> None:
    cat, new, sold = Compare("label", "==", "cat"), Compare("year", ">=", 2020), Compare("sold", "==", True)
    assert (cat & new & ~sold) == And((cat, new, Not(sold)))
    assert str((cat | new) & ~sold) == '(label == "cat" or year >= 2020) and not (sold == true)'


@pytest.mark.parametrize(
    "values",
    [{"limit": 0}, {"offset": -1}, {"limit": 10, "offset": 16_380}, {"min_score": 1.5}, {"fold": 0.0}, {"fold": 2.0},
     {"parts": ()}, {"parts": (Part("a"),) * 33}, {"min_score": float("nan")}],
)  # fmt: skip
def test_queries_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Query(**{"parts": (Part("a"),), **values})


@pytest.mark.parametrize("values", [{}, {"text": "a", "id": 1}, {"text": " "}, {"text": "a", "weight": float("nan")}])
def test_parts_that_are_none(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Part(**values)


@quick
@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 7), st.integers(0, 10_000), st.booleans())
def test_pages_neither_repeat_nor_skip(levels: list[int], limit: int, seed: int, cut: bool) -> None:
    """Many equal scores, given in another order each time: as an engine may that is asked for more."""
    stored = [[number, level / 4] for number, level in enumerate(levels)]
    shuffled = random.Random(seed)

    def ask(count: int) -> list[list[Any]]:
        return sorted(stored, key=lambda row: (-row[1], shuffled.random()))[:count]

    minimum = 0.5 if cut else None
    wanted = [row for row in sorted(stored, key=lambda row: (-row[1], row[0])) if minimum is None or row[1] >= minimum]
    seen: list[list[Any]] = []
    for offset in range(0, len(stored) + limit, limit):
        page = collect_page(ask, Query((Part("a"),), limit, offset, min_score=minimum), 0)
        seen += page.rows
        assert page.has_more == (len(seen) < len(wanted))
    assert seen == wanted


def test_near_duplicates_are_one_hit_with_a_count() -> None:
    rows = [[1, 0.9, [1.0, 0.0]], [2, 0.8, [0.99, 0.141]], [3, 0.7, [0.0, 1.0]], [4, 0.6, [0.98, 0.199]]]
    kept, folded = fold_duplicates(rows, 0.95)
    assert ([row[0] for row in kept], folded) == ([1, 3], [2, 0])
    assert fold_duplicates([], 0.9) == ([], [])

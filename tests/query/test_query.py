"""The query language and the limits of queries: what is read, what is never misread, and what is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.query import Part, Query, format_query, parse_query

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
        ("id:SKU-1 id:007 id:9999999999999999999", (Part(id="SKU-1"), Part(id="007"), Part(id="9999999999999999999"))),
        ('dog -id:"a \\"b\\" c" id:"42"', (Part("dog"), Part(id='a "b" c', weight=-1), Part(id=42))),
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
     ('id:" "', "not blank"), ("x" * 4001, "4,000 characters")],
)  # fmt: skip
def test_invalid_queries_are_refused(text: str, reason: str) -> None:
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
    "values",
    [{"limit": 0}, {"offset": -1}, {"limit": 10, "offset": 16_380}, {"min_score": 1.5}, {"fold": 0.0}, {"fold": 2.0},
     {"parts": ()}, {"parts": (Part("a"),) * 33}, {"min_score": float("nan")}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Query(**{"parts": (Part("a"),), **values})


@pytest.mark.parametrize("values", [{}, {"text": "a", "id": 1}, {"text": " "}, {"text": "a", "weight": float("nan")}])
def test_invalid_parts_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Part(**values)

"""The state of the page: addresses, words and parts."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest

from app.given_image import GivenImage
from app.search_state import FOLD, MAX_IMAGES, MAX_SHOWN, PAGE, SearchState
from pipelines.errors import InputError
from pipelines.query import Part, parse_query

KEY = "0123456789abcdef" * 2


def state_of(*parameters: tuple[str, str]) -> SearchState:
    """Return the state that an address with these parameters holds."""
    return SearchState.from_url("?" + urlencode(parameters))


@pytest.mark.parametrize(
    "parameters",
    [[], [("q", "a & b=c #1 %")], [("q", "日本 -id:-5"), ("filter", 'label == "a \\"é\\""'), ("k", "12")],
     [("image", KEY), ("image", f"{KEY}~-0.5")], [("image", "https://a.example/b~c?d=é"), ("image", "http://a/~2~1")],
     [("q", "x"), ("fold", "0")],
     [("q", "x"), ("min", "0.25"), ("fold", "0.9")]],
)  # fmt: skip
def test_a_state_and_its_url_say_the_same(parameters: list[tuple[str, str]]) -> None:
    state = state_of(*parameters)
    assert SearchState.from_url(state.url) == state
    assert parse_qsl(state.url.lstrip("?")) == parameters


def test_invalid_parameters_fall_back_to_their_defaults() -> None:
    assert SearchState.from_url("?k=1000000").shown == MAX_SHOWN
    assert SearchState.from_url("?k=x&min=nan&fold=7&image=..%2Fetc&q=%00a%0a b\ud800").shown == PAGE
    assert SearchState.from_url("?image=http%3A%2F%2F\ud800a&image=http://&image=ftp://a/b").images == (
        GivenImage("http://a"),
    )
    assert SearchState.from_url("?min=inf&fold=-1") == SearchState()
    assert SearchState.from_url(f"?image={KEY}~&image=%2Fetc%2Fpasswd&image={KEY}.png") == SearchState()
    assert SearchState.from_url("?" + "&".join(f"q{index}=1" for index in range(100))) == SearchState()
    assert SearchState.from_url("?q=" + "a" * 7_000).text == "a" * 2000


@pytest.mark.parametrize(
    "words", ["", "a dog", 'wheels & a "seat" = 100%', "beach -people", '2*"red sky" +blue', "-5 °C"]
)
def test_words_are_shown_as_typed_beside_any_images(words: str) -> None:
    state = SearchState().with_text(words)
    assert state.words == words
    with_images = SearchState.from_url(SearchState.from_url(state.url_with_image(7)).url_with_image(-8))
    assert with_images.words == words
    assert with_images.with_text("other").words == "other"
    assert [part.id for part in with_images.parts if part.id is not None] == [7, -8]


def test_a_part_is_weighted_or_removed_by_its_place() -> None:
    state = state_of(("q", "a dog id:7"), ("image", KEY), ("k", "48"))

    def with_weight(index: int, weight: float | None) -> SearchState:
        return SearchState.from_url(state.url_with_weight(index, weight))

    assert with_weight(0, -1).text == '-"a dog" id:7'
    assert with_weight(1, 0.5).text == "a dog 0.5*id:7"
    assert with_weight(2, -0.5).images == (GivenImage(KEY, -0.5),)
    assert with_weight(2, None).images == ()
    assert with_weight(0, None).text == "id:7"
    assert with_weight(1, 2).shown == PAGE  # another query starts at its first result


@pytest.mark.parametrize(
    "line", ["a dog id:7", "id:7 a dog", "a dog id:7 at night", '2*"red sky" -id:-8 +id:9', "id:7"]
)
def test_a_new_text_keeps_the_images_and_is_parsed_as_the_whole_line(line: str) -> None:
    state = state_of(("q", line))
    changed = state.with_text('a cat -"many people" +"')
    assert changed.parts == parse_query(changed.text)
    assert [part for part in changed.parts if part.id] == [part for part in state.parts if part.id]


def test_a_query_or_filter_that_cannot_be_read_keeps_its_text_and_says_why() -> None:
    state = state_of(("q", "0*dog"), ("filter", "year ="), ("k", "48"))
    assert (state.text, state.words, state.parts) == ("0*dog", "0*dog", ())
    assert (state.filter_text, state.filter) == ("year =", None)
    assert "weight" in str(state.error)
    assert "filter" in str(state.with_text("a dog").error)
    repaired = state.with_text("a dog").with_filter(None, None, FOLD)
    assert repaired == SearchState("a dog", (Part("a dog"),))
    assert isinstance(state.error, InputError)


def test_orders_and_dates_are_part_of_the_address() -> None:
    state = SearchState.from_url("?q=beach+taken%3A2021&sort=taken%3Aasc")
    assert (state.parts, state.dates, state.order) == ((Part("beach"),), ("taken:2021",), "taken:asc")
    assert SearchState.from_url(state.url) == state
    without = SearchState.from_url(state.url_with_weight(0, None))
    assert (without.text, without.dates, without.is_empty) == ("taken:2021", ("taken:2021",), False)
    assert state.with_text("dog").dates == ()
    assert SearchState.from_url("?sort=%60").order == SearchState.from_url("?sort=relevance").order == ""
    assert not SearchState().with_order("name").is_empty
    assert state.with_order("").url == "?q=beach+taken%3A2021"


def test_images_join_a_query_up_to_eight_and_each_once() -> None:
    state = state_of(("q", "a dog"))
    for number in range(MAX_IMAGES):
        state = state.with_image(f"{number:032x}").with_image(f"{number:032x}")
    assert (state.text, len(state.images)) == ("a dog", MAX_IMAGES)
    with pytest.raises(InputError, match="at most 8 images"):
        state.with_image(KEY)


def test_addresses_in_the_words_of_a_link_are_images() -> None:
    link = SearchState.from_url("?q=a+https://a.example/b.png+dog&image=HTTP://c/d~-2")
    assert (link.text, link.images) == (
        "a dog",
        (GivenImage("HTTP://c/d", -2.0), GivenImage("https://a.example/b.png")),
    )
    assert SearchState.from_url('?q=+"http://a/b"').images == ()


def test_images_that_are_gone_leave_the_query_and_its_words_stay() -> None:
    state = state_of(("q", "a dog id:7 -id:8"), ("image", KEY))
    assert state.without_ids([7]).text == "a dog -id:8"
    assert state.without_ids([7]).images == state.images
    assert state.without_ids([]) is state


def test_near_duplicates_are_one_card_unless_the_address_says_otherwise() -> None:
    assert state_of(("q", "x")).fold == FOLD
    assert state_of(("q", "x"), ("fold", "0")).fold is None
    state = SearchState.from_url(state_of(("q", "x"), ("filter", "year > 2000")).url_of_alike(7))
    assert (state.text, state.filter_text, state.min_score, state.fold) == ("id:7", "year > 2000", FOLD, None)

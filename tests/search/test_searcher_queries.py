"""Queries of several parts, filters, pages and folding give the same results on Milvus Lite and on a server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines import Searcher, Settings
from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.models.clip import load_model
from pipelines.query import Compare, Contains, OneOf, Part, Query, StartsWith, Under, parse_query
from pipelines.search.opened import Opened
from tests.support.photos import draw_images

HOSTILE = [
    'a "quoted" one', "it's", "back\\slash", "\\", '\\"', "new\nline", "tab\tone", "carriage\rreturn", "<img src=x>",
    "100%", "under_score", "é日本", "🐶", '" or id >= 0 or "', "') or 1==1 --", "{x}", "$meta", "\x00\x07", "", " ",
    "null", "true", "a" * 3000,
]  # fmt: skip
FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, has_gaps=True),
    Field("price", FieldType.FLOAT, has_gaps=True), Field("sold", FieldType.BOOL, has_gaps=True),
    Field("taken", FieldType.DATE, has_gaps=True),
)  # fmt: skip
ROWS = 240
DIM = 256


class Shelf(NamedTuple):
    """A collection whose rows are known: unit vectors instead of images."""

    searcher: Searcher
    rows: list[dict[str, Any]]
    vectors: np.ndarray


DAY = 86_400_000  # milliseconds


def make_rows() -> list[dict[str, Any]]:
    def gap(number: int, every: int, value: Any) -> Any:
        return None if number % every == 0 else value

    return [
        {
            "id": number - 50, "path": f"/p/{['a', 'ab', 'a%b', 'a_b'][number % 4]}/{number}.jpg",
            "_mtime_ns": 0, "_size": 0, "_hash": "", "_source": "",
            "label": HOSTILE[number % len(HOSTILE)], "year": gap(number, 7, 2000 + number % 25),
            "price": gap(number, 11, (number % 13) * 1e-5 * 10.0 ** (number % 9)),
            "sold": gap(number, 5, number % 3 == 0), "taken": gap(number, 4, (number - 100) * DAY // 2),
        }
        for number in range(ROWS)
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["lite", "server"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Store 240 rows with empty cells; every fourth vector is a near duplicate of the one before."""
    lite = request.param == "lite"
    uri = str(tmp_path_factory.mktemp("shelf") / "s.db") if lite else request.getfixturevalue("milvus_server")
    settings = Settings(uri=uri, collection=f"t_{uuid.uuid4().hex[:12]}", model="builtin")
    rows, random = make_rows(), np.random.default_rng(1)
    vectors = random.standard_normal((ROWS, DIM)).astype(np.float32)
    vectors[3::4] = vectors[2::4] + 0.05 * random.standard_normal((ROWS // 4, DIM))
    vectors[1::40] = vectors[0]  # equal scores
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    collection = Collection(uri, settings.collection)
    collection.create(DIM, FIELDS)
    model_id, keys = load_model("builtin").model_id, {field.name: field.key for field in collection.fields()}
    collection.upsert(
        {"_model": model_id, "embedding": vector, **{keys.get(name, name): value for name, value in row.items()}}
        for row, vector in zip(rows, vectors, strict=True)
    )
    collection.optimize()
    yield Shelf(Searcher(settings), rows, vectors)
    collection.drop()
    if lite:
        close(uri)


def ids_of(shelf: Shelf, filter: Any) -> set[int]:
    """Return the ids that a search finds under a filter; check that the filter finds the same without a query."""
    found = shelf.searcher.search(Query((Part("x"),), ROWS, filter=filter))
    ids = {hit.id for hit in found.hits}
    left = shelf.searcher.search(Query(limit=ROWS, filter=filter))
    assert {hit.id for hit in left.hits} == ids
    assert found.total == left.total == len(ids)
    return ids


def expected(shelf: Shelf, keep: Callable[[dict[str, Any]], bool]) -> set[int]:
    return {row["id"] for row in shelf.rows if keep(row)}


def test_hostile_texts_are_never_read_as_expressions(shelf: Shelf) -> None:
    for label in HOSTILE:
        same = expected(shelf, lambda row, label=label: row["label"] == label)  # type: ignore[misc]
        assert ids_of(shelf, Compare("label", "==", label)) == same, label
        assert ids_of(shelf, str(Compare("label", "==", label))) == same, label
        assert ids_of(shelf, ~OneOf("label", (label, "x"))) == set(expected(shelf, lambda row: True)) - same, label
        if label:
            begins = expected(shelf, lambda row, label=label: row["label"].startswith(label))  # type: ignore[misc]
            assert ids_of(shelf, StartsWith("label", label)) == begins, label


@pytest.mark.parametrize("text", [*(label for label in HOSTILE if label), "%", "_", "o", "\\n", "line\n"])
def test_contains_has_no_wildcards(shelf: Shelf, text: str) -> None:
    wanted = Contains("label", text)
    if not shelf.searcher.is_lite or "\\" in text:
        with pytest.raises(InputError, match="cannot look"):
            ids_of(shelf, wanted)
        return
    found = expected(shelf, lambda row: text in row["label"])
    assert ids_of(shelf, wanted) == found
    assert ids_of(shelf, ~wanted) == expected(shelf, lambda row: True) - found


@pytest.mark.parametrize("folder", ["/p/a", "/p/a/", "/p/a_b", "/p/a%b", "/p", "/p/../p/ab", "/q", "/p/a/1.jp"])
def test_images_under_a_folder(shelf: Shelf, folder: str) -> None:
    plain = {"/p/a/": "/p/a", "/p/../p/ab": "/p/ab"}.get(folder, folder)
    inside = expected(shelf, lambda row: row["path"].startswith(plain + "/"))
    assert ids_of(shelf, Under(folder)) == inside
    assert ids_of(shelf, f'not path under "{folder}"') == expected(shelf, lambda row: True) - inside


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("year == 2003", lambda row: row["year"] == 2003),
        ("year != 2003", lambda row: row["year"] != 2003),
        ("not (year == 2003)", lambda row: row["year"] != 2003),
        ("year < 2010", lambda row: row["year"] is not None and row["year"] < 2010),
        ("not year < 2010", lambda row: row["year"] is None or row["year"] >= 2010),
        ("year in [2001, 2002]", lambda row: row["year"] in (2001, 2002)),
        ("year not in [2001, 2002]", lambda row: row["year"] not in (2001, 2002)),
        ("year is empty", lambda row: row["year"] is None),
        ("year is not empty", lambda row: row["year"] is not None),
        ("label is empty", lambda row: row["label"] == ""),
        ("price >= 1e-5 and price < 1e3", lambda row: row["price"] is not None and 1e-5 <= row["price"] < 1e3),
        ("price == 0", lambda row: row["price"] == 0),
        ("sold", lambda row: row["sold"] is True),
        ("not sold", lambda row: row["sold"] is not True),
        ("sold == false", lambda row: row["sold"] is False),
        ("sold is empty or year > 2020", lambda row: row["sold"] is None or (row["year"] or 0) > 2020),
        ("sold in [true, false]", lambda row: row["sold"] is not None),
        ("not (sold or year < 2010)", lambda row: row["sold"] is not True and (row["year"] or 9999) >= 2010),
        ("taken < 1970", lambda row: row["taken"] is not None and row["taken"] < 0),
        ("not taken < 1970", lambda row: row["taken"] is None or row["taken"] >= 0),
        ("taken >= 1970-01-03", lambda row: (row["taken"] or 0) >= 2 * DAY),
        ("taken <= 1970-01-03T12:00", lambda row: row["taken"] is not None and row["taken"] <= 2.5 * DAY),
        ("not taken >= 1970-01-03", lambda row: (row["taken"] or 0) < 2 * DAY),
        ("taken == 1970-01-03T12:00", lambda row: row["taken"] == 2.5 * DAY),
        ("taken not in [1970-01-03T12:00]", lambda row: row["taken"] != 2.5 * DAY),
        ("taken is empty", lambda row: row["taken"] is None),
        ("price is empty", lambda row: row["price"] is None),
        ("id < 0 and id >= -20", lambda row: -20 <= row["id"] < 0),
        ("id == 9223372036854775807 or id == -9223372036854775807 or id == 3", lambda row: row["id"] == 3),
        (f"id in [{', '.join(map(str, range(600)))}]", lambda row: row["id"] >= 0),
    ],
)  # fmt: skip
def test_filters_mean_the_same_everywhere(shelf: Shelf, text: str, keep: Callable[[dict[str, Any]], bool]) -> None:
    assert ids_of(shelf, text) == expected(shelf, keep)


def scores(shelf: Shelf, vector: np.ndarray) -> list[tuple[float, int]]:
    cosines = shelf.vectors @ (vector / np.linalg.norm(vector))
    return sorted((-float(cosine), row["id"]) for cosine, row in zip(cosines, shelf.rows, strict=True))


def test_a_query_is_the_weighted_sum_of_unit_vectors(shelf: Shelf) -> None:
    texts = load_model("builtin").embed_texts(["beach", "people"])
    beach, people = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    stored = shelf.vectors[60]
    best = scores(shelf, 2 * beach - 0.5 * people + stored)
    found = shelf.searcher.search(Query(parse_query("2*beach -0.5*people id:10"), 20)).hits
    assert [hit.score for hit in found] == pytest.approx(
        [-score for score, number in best if number != 10][:20], abs=1e-4
    )
    assert 10 not in {hit.id for hit in found}


def test_stored_images_cost_no_model_call_and_no_model(shelf: Shelf) -> None:
    searcher = Opened(shelf.searcher.settings)
    results = searcher.search(Query((Part(id=0), Part(id=4), Part(id=5, weight=-1)), 5))
    assert len(results.hits) == 5
    assert {"_text_pipeline", "_image_pipeline"}.isdisjoint(vars(searcher.embedder))
    best = scores(shelf, shelf.vectors[50] + shelf.vectors[54] - shelf.vectors[55])
    assert results.hits[0].id in [number for _, number in best[:4]]


def test_parts_that_cancel_each_other_out_are_a_clear_error(shelf: Shelf) -> None:
    for text in ("id:5 -id:5", "dog -dog", "2*id:5 -id:5 -id:5"):
        with pytest.raises(InputError, match="cancel each other out"):
            shelf.searcher.search(Query(parse_query(text)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("id:-50", {}), ("dog", {"filter": "year >= 2010"}), ("id:-50 dog", {"min_score": 0.0}), ("dog", {"fold": 0.9}),
        ("id:-50", {"fold": 0.9, "filter": "not sold", "min_score": -0.05}),
    ],
)  # fmt: skip
def test_pages_follow_each_other(shelf: Shelf, text: str, asked: dict[str, Any]) -> None:
    """Small pages show the same hits as one page of all rows, even with equal scores and duplicates."""
    parts = parse_query(text)
    whole = shelf.searcher.search(Query(parts, ROWS, **asked))
    assert not whole.has_more
    assert whole.rows == ROWS
    for size in (13, 64):
        seen = []
        for offset in range(0, ROWS, size):
            page = shelf.searcher.search(Query(parts, size, offset, **asked))
            seen += page.hits
            assert page.has_more == (len(seen) < len(whole.hits))
        assert [(hit.rank, hit.id) for hit in seen] == [(hit.rank, hit.id) for hit in whole.hits]
    if "min_score" in asked:
        assert whole.hits[-1].score >= asked["min_score"]
        assert len(whole.hits) < ROWS


def test_near_duplicates_are_folded_and_counted(shelf: Shelf) -> None:
    whole = shelf.searcher.search(Query((Part("dog"),), ROWS)).hits
    folded = shelf.searcher.search(Query((Part("dog"),), ROWS, fold=0.9)).hits
    assert len(folded) + sum(hit.folded for hit in folded) == len(whole) == ROWS
    kept = shelf.vectors[[hit.id + 50 for hit in folded]]
    assert np.triu(kept @ kept.T, 1).max() < 0.9
    assert {hit.folded for hit in folded if hit.id == -50} <= {6}  # six other rows have an equal vector


def test_the_end_of_what_can_be_reached_is_said(shelf: Shelf) -> None:
    with pytest.raises(InputError, match="only the first 16384 hits"):
        shelf.searcher.search(Query((Part("x"),), 10, 16_380))
    assert shelf.searcher.search(Query((Part("x"),), 4, 16_380)).hits == []


def test_over_long_text_is_said_once(shelf: Shelf) -> None:
    long = "a very long story " * 40
    results = shelf.searcher.search(Query((Part(long), Part(long + "x", weight=0.5)), 1))
    assert len(results.notes) == 1
    assert "75 tokens" in str(results.notes[0])
    assert (
        shelf.searcher.by_text("a short story about 75 bytes, which is not too long for 77 tokens, is it?").notes == ()
    )


def test_images_as_file_bytes_and_array(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> None:
    from pipelines.images.decode import decode

    (path,) = draw_images(tmp_path_factory.mktemp("p"), 1)
    answers = [
        shelf.searcher.by_image(source, 5).hits
        for source in (path, str(path), path.read_bytes(), decode(path.read_bytes()))
    ]
    assert [hit.id for hit in answers[0]] == [hit.id for hit in answers[1]] == [hit.id for hit in answers[2]]
    assert answers[3][0].score == pytest.approx(answers[0][0].score, abs=0.02)
    with pytest.raises(InputError, match=r"\[height, width, 3\], not float64\[2, 2, 2, 2\]"):
        shelf.searcher.by_image(np.zeros((2, 2, 2, 2)))

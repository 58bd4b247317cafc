"""Orders, filters without a query, and facets, on Milvus Lite and on a server."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines import Searcher, Settings
from pipelines.errors import InputError
from pipelines.fields import Field, FieldType
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.models.clip import load_model
from pipelines.query import Part, Query
from pipelines.search.facets import Folder
from pipelines.search.results import Hit

DAY = 86_400_000
ROWS = 60
FIELDS = (
    Field("label", FieldType.TEXT), Field("year", FieldType.INT, has_gaps=True),
    Field("taken", FieldType.DATE, has_gaps=True, from_file=True), Field("modified", FieldType.DATE, from_file=True),
    Field("featured", FieldType.BOOL), Field("date", FieldType.TEXT),
)  # fmt: skip
LABELS = ("castle", "Cathedral", "brain coral", "")


class Album(NamedTuple):
    searcher: Searcher
    collection: Collection
    rows: list[dict[str, Any]]


def make_row(number: int) -> dict[str, Any]:
    return {
        "id": (number * 37) % ROWS - 20, "path": f"/photos/{2019 + number % 3}/{'ab'[number % 2]}/IMG_{number}.JPG",
        "label": LABELS[number % 4], "year": None if number % 5 == 0 else 2000 + number % 4,
        "taken": None if number % 3 == 0 else (18_000 + 7 * (number // 2)) * DAY, "modified": (18_100 + number) * DAY,
        "featured": number % 2 == 0, "date": "",
    }  # fmt: skip


def store(collection: Collection, rows: list[dict[str, Any]], vectors: np.ndarray | None = None) -> None:
    keys = {field.name: field.key for field in collection.fields()}
    system = {"_model": load_model("builtin").model_id, "_mtime_ns": 0, "_size": 0, "_hash": "", "_source": ""}
    vectors = np.random.default_rng(0).standard_normal((len(rows), 256)) if vectors is None else vectors
    collection.upsert(
        {**system, "embedding": vector, **{keys.get(name, name): cell for name, cell in row.items()}}
        for row, vector in zip(rows, vectors, strict=True)
    )


@pytest.fixture(scope="module", params=["lite", "server"])
def album(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Album]:
    is_lite = request.param == "lite"
    uri = str(tmp_path_factory.mktemp("album") / "s.db") if is_lite else request.getfixturevalue("milvus_server")
    collection = Collection(uri, f"t_{uuid.uuid4().hex[:12]}")
    collection.create(256, FIELDS)
    rows = [make_row(number) for number in range(ROWS)]
    store(collection, rows)
    collection.optimize()
    yield Album(Searcher(Settings(uri=uri, collection=collection.name, model="builtin")), collection, rows)
    collection.drop()
    if is_lite:
        close(uri)


def listed(album: Album, order: str, **asked: Any) -> list[Hit]:
    return album.searcher.search(Query(limit=ROWS, order=order, **asked)).hits


def natural(text: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.lower())]


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("taken", lambda row: row["taken"] and -row["taken"]),
        ("taken:asc", lambda row: row["taken"]),
        ("date", lambda row: -(row["taken"] or row["modified"])),
        ("relevance", lambda row: -(row["taken"] or row["modified"])),
        ("year:desc", lambda row: row["year"] and -row["year"]),
        ("year", lambda row: row["year"]),
        ("label", lambda row: row["label"].lower() or None),
        ("name", lambda row: natural(row["path"].rpartition("/")[2])),
        ("path", lambda row: natural(row["path"])),
        ("featured", lambda row: row["featured"]),
        ("`date`", lambda row: None),
    ],
)  # fmt: skip
def test_rows_are_listed_in_the_order_of_a_column(album: Album, order: str, key: Any) -> None:
    """Rows without a value come last, and rows with equal values are ordered by id."""
    given = sorted((row for row in album.rows if key(row) is not None), key=lambda row: (key(row), row["id"]))
    empty = sorted((row for row in album.rows if key(row) is None), key=lambda row: row["id"])
    expected = [row["id"] for row in [*given, *empty]]
    asked = {"filter": "id >= -20"} if order == "relevance" else {}
    assert [hit.id for hit in listed(album, order, **asked)] == expected
    pages = [album.searcher.search(Query(limit=7, offset=offset, order=order, **asked)) for offset in range(0, ROWS, 7)]
    assert [hit.id for page in pages for hit in page.hits] == expected
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert {(page.total, page.rows) for page in pages} == {(ROWS, ROWS)}
    assert pages[1].hits[0].rank == 8
    assert pages[0].hits[0].score is None


def test_what_was_found_is_put_into_order(album: Album) -> None:
    query = Query((Part("dog"),), 5, order="taken:asc", best=12)
    best = album.searcher.search(Query((Part("dog"),), 12)).hits
    expected = sorted(best, key=lambda hit: (hit.fields["taken"] is None, hit.fields["taken"] or "", hit.id))
    first = album.searcher.search(query)
    second = album.searcher.search(Query((Part("dog"),), 50, 5, order="taken:asc", best=12))
    assert [hit.id for hit in (*first.hits, *second.hits)] == [hit.id for hit in expected]
    assert (first.has_more, second.has_more) == (True, False)
    assert all(hit.score is not None for hit in first.hits)

    least = best[-1].score
    above = album.searcher.search(Query((Part("dog"),), 5, order="name:desc", min_score=least, best=3))
    assert above.above == 12
    names = sorted((hit.path.rpartition("/")[2] for hit in best), key=natural, reverse=True)
    assert [hit.path.rpartition("/")[2] for hit in above.hits] == names[:5]


def test_a_date_of_the_query_line_is_a_filter(album: Album) -> None:
    def taken(row: dict[str, Any]) -> str:
        return "" if row["taken"] is None else (datetime(1970, 1, 1) + timedelta(milliseconds=row["taken"])).isoformat()

    for term, fits in (
        ("taken:2019-05", lambda day: day.startswith("2019-05")),
        ("taken:2019..2019-06-09", lambda day: "2019" <= day < "2019-06-10"),
        ("taken:2019-08..", lambda day: day >= "2019-08"),
        ("-taken:2019", lambda day: not day.startswith("2019")),
    ):
        expected = {row["id"] for row in album.rows if fits(taken(row))}
        assert {hit.id for hit in listed(album, "taken", dates=(term,))} == expected, term
        assert 0 < len(expected) < ROWS
    with pytest.raises(InputError, match="there is no column 'runner'"):
        listed(album, "taken", dates=("runner:2049",))


def test_a_date_in_words_is_offered(album: Album) -> None:
    offer = album.searcher.offer_dates("Hund im Mai 2019", "de")
    assert offer is not None
    assert (offer.words, offer.line) == ("Mai 2019", "Hund taken:2019-05")


def test_facets_count_the_rows_of_a_filter(album: Album) -> None:
    facets = album.searcher.facets("year >= 2002")
    left = [row for row in album.rows if (row["year"] or 0) >= 2002]
    assert (facets.total, facets.rows) == (len(left), ROWS)
    label, year, taken, _, featured, date = facets.columns
    counts = {value: sum(row["label"] == value for row in left) for value in LABELS}
    assert {value.value: value.count for value in label.values} == {key: n for key, n in counts.items() if key}
    assert (label.distinct, label.empty) == (3, counts[""])
    assert (year.low, year.high, year.empty) == (2000, 2003, ROWS // 5)  # the condition on year does not count here
    months = {(entry.year, month): count for entry in taken.years for month, count in entry.months}
    assert sum(months.values()) == sum(entry.count for entry in taken.years) == facets.total - taken.empty
    days = [datetime(1970, 1, 1) + timedelta(milliseconds=row["taken"]) for row in left if row["taken"] is not None]
    assert months == {
        key: sum((day.year, day.month) == key for day in days) for key in {(d.year, d.month) for d in days}
    }
    assert [value.value for value in featured.values] == [True, False]
    assert (date.distinct, date.empty) == (0, len(left))


@pytest.mark.parametrize(
    ("filter", "column", "others"),
    [
        ('label == "castle" and year >= 2002', "label", "year >= 2002"),
        ('label in ["castle"] and (year >= 2002 and not (label == "Cathedral"))', "label", "year >= 2002"),
        ('(label == "castle" or label contains "coral") and featured == true', "label", "featured == true"),
        ('label == "castle" or year >= 2002', "label", 'label == "castle" or year >= 2002'),  # this joins two columns
        ("taken >= 2019-05 and taken < 2019-07 and year >= 2002", "taken", "year >= 2002"),
        ("featured == true", "featured", None),
    ],
)
def test_a_column_is_counted_without_its_own_condition(
    album: Album, filter: str, column: str, others: str | None
) -> None:
    """Its other values tell what choosing them instead would give; the other columns obey the condition."""
    if not album.searcher.is_lite and "contains" in filter:
        pytest.skip("a server has no `contains`")
    chosen = album.searcher.facets(filter)
    expected = album.searcher.facets(others, columns=[column])
    assert [facet for facet in chosen.columns if facet.field.name == column] == list(expected.columns)
    assert chosen.total == len(listed(album, "path", filter=filter))
    modified = next(facet for facet in chosen.columns if facet.field.name == "modified")
    assert sum(year.count for year in modified.years) == chosen.total


def test_folders_are_a_tree_with_counts(album: Album) -> None:
    def flat(folders: tuple[Folder, ...]) -> dict[str, int]:
        return {
            path: count
            for folder in folders
            for path, count in [(folder.path, folder.count), *flat(folder.folders).items()]
        }

    counts: dict[str, int] = {}
    for row in album.rows:
        for depth in (3, 4):
            folder = "/".join(row["path"].split("/")[:depth]) + "/"
            counts[folder] = counts.get(folder, 0) + 1
    facets = album.searcher.facets(columns=[])
    assert flat(facets.folders) == counts
    assert [folder.name for folder in facets.folders] == ["2019", "2020", "2021"]
    assert album.searcher.facets('path under "/photos/2020"', columns=[]).folders == facets.folders
    upper = album.searcher.facets(folders=3)
    assert [(folder.is_cut, folder.folders) for folder in upper.folders] == [(True, ())] * 3
    assert [folder.name for folder in album.searcher.facets(folder="/photos/2020").folders] == ["a", "b"]


def test_facets_of_hits_and_of_some_columns(album: Album) -> None:
    ids = [hit.id for hit in album.searcher.search(Query((Part("dog"),), 9)).hits]
    facets = album.searcher.facets(ids=[*ids, 10**9], columns=["label"])
    assert facets.total == 9
    assert [facet.field.name for facet in facets.columns] == ["label"]
    assert sum(value.count for value in facets.columns[0].values) + facets.columns[0].empty == 9
    with pytest.raises(InputError, match="no column 'lable'"):
        album.searcher.facets(columns=["lable"])


def test_a_mistyped_value_gets_the_nearest_ones(album: Album) -> None:
    found = album.searcher.search(Query(filter='label == "catle" or label == "castle" and year == 1'))
    assert (found.total, found.hits) == (0, [])
    assert [(s.column, s.value, s.nearest[0]) for s in found.suggestions] == [("label", "catle", "castle")]
    with_words = album.searcher.search(Query((Part("dog"),), filter='label in ["cathedrale"]'))
    assert [s.nearest[0] for s in with_words.suggestions] == ["Cathedral"]


def test_an_order_that_is_none_is_refused(album: Album) -> None:
    for order, reason in (("relevance:asc", "one direction"), ("a`b", "not an order"), ("nope", "no column 'nope'")):
        with pytest.raises(InputError, match=reason):
            listed(album, order)


def is_seen(album: Album, *expected: int) -> bool:
    """Tell whether the filter finds these rows: at once on Milvus Lite, within 20 seconds on a server."""
    end = time.monotonic() + (0 if album.searcher.is_lite else 20)
    while [hit.id for hit in listed(album, "name", filter="year == 1900")] != list(expected):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a server for changed rows at every read, and read the columns as soon as rows changed."""
    monkeypatch.setattr("pipelines.search.catalog._CHECK_SECONDS", 0.0)
    monkeypatch.setattr("pipelines.search.catalog._SHARE", 0)
    monkeypatch.setattr("pipelines.search.catalog._WORTH_WAITING", 60.0)  # on a slow machine, too


@pytest.mark.usefixtures("asked_often")
def test_new_and_removed_rows_are_seen(album: Album) -> None:
    """At once on Milvus Lite; on a server within half a minute, here as soon as its count sees the writes."""
    assert is_seen(album)
    row = {**make_row(0), "id": 5_000, "year": 1900}
    for year, expected in ((1900, [5_000]), (1901, []), (1900, [5_000])):
        store(album.collection, [{**row, "year": year}])
        album.collection.flush()
        assert is_seen(album, *expected)
    album.collection.delete([5_000])
    album.collection.flush()
    assert is_seen(album)


@pytest.mark.long
@pytest.mark.usefixtures("asked_often")
def test_an_update_is_seen_after_compaction(milvus_server: str) -> None:
    """After compaction, a server has as many rows, and as many flushed ones, as before the update."""
    collection = Collection(milvus_server, f"t_{uuid.uuid4().hex[:12]}")
    collection.create(256, FIELDS)
    rows = [make_row(number) for number in range(5)]
    store(collection, rows)
    collection.flush()
    collection.optimize()
    album = Album(Searcher(Settings(uri=milvus_server, collection=collection.name, model="builtin")), collection, rows)
    assert is_seen(album)
    store(collection, [{**row, "year": 1900} for row in rows])
    collection.flush()
    end = time.monotonic() + 60
    while flushed_rows(collection) > len(rows) and time.monotonic() < end:
        collection.client.compact(collection.name)
        time.sleep(1)
    assert is_seen(album, *(row["id"] for row in rows))
    collection.drop()


def flushed_rows(collection: Collection) -> int:
    return int(collection.client.get_collection_stats(collection.name)["row_count"])


@pytest.mark.long
@pytest.mark.usefixtures("asked_often")
@pytest.mark.parametrize("album", ["server"], indirect=True)
def test_an_update_that_is_not_flushed_is_seen_later(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not report such an update, so its columns are read again after some minutes; here at once."""
    row = make_row(1)
    store(album.collection, [{**row, "year": 1900}])
    monkeypatch.setattr("pipelines.search.catalog._OLDEST_SECONDS", 0.0)
    monkeypatch.setattr("pipelines.search.catalog._UNASKED_SHARE", 0)
    assert is_seen(album, row["id"])
    store(album.collection, [row])
    album.collection.flush()
    assert is_seen(album)

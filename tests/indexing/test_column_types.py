"""Columns of any type and name are stored, filtered and shown as they are, and change their type when asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.fields import FieldType
from pipelines.milvus.collection import Collection
from tests.support.insert import collection_of, did
from tests.support.photos import Photos, write_csv

NAME = "Größe (cm)"
CELLS = {
    "taken": ["13/01/2020", "01/02/2020", "NA"],
    NAME: ["170", "", "180"],
    "描述": ["狗", "", "cat"],
    "not": ["true", "", "false"],
    "embedding": ["0.5", "n/a", "-1"],
    "_hash": ["", "2", "3"],
    "like": ["x", "y", "z"],
    "😀 a.b": ["2019-05-01T10:00", "", "2019-05-02"],
}


def table(photos: Photos, columns: dict[str, list[str]], name: str = "t.csv", first: int = 0) -> Path:
    """Write a CSV of some of the photographs with these columns."""
    paths = [f"photos/{path.name}" for path in photos.paths[first:]]
    return write_csv(photos.folder.parent / name, ["path", *columns], [*zip(paths, *columns.values(), strict=False)])


def found(settings: Settings, filter: str, column: str = NAME) -> list[object]:
    """Return what the rows that match a filter have in a column, in the order of their paths."""
    hits = Searcher(settings).by_text("a photo", 100, filter=filter).hits
    return [hit.fields[column] for hit in sorted(hits, key=lambda hit: hit.path)]


@pytest.mark.long
def test_columns_of_every_type_and_name_are_filtered_and_shown_as_they_are(settings: Settings, photos: Photos) -> None:
    source = table(photos, CELLS)
    assert did(run_insert(source, settings)) == {"inserted": 3}
    assert did(run_insert(source, settings)) == {"unchanged": 3}
    shown = {
        "taken": ["2020-01-13", "2020-02-01", None], NAME: [170, None, 180], "描述": ["狗", "", "cat"],
        "not": [True, None, False], "embedding": [0.5, None, -1.0], "_hash": [None, 2, 3], "like": ["x", "y", "z"],
        "😀 a.b": ["2019-05-01T10:00:00", None, "2019-05-02"],
    }  # fmt: skip
    assert {name: found(settings, "id != 0", name) for name in shown} == shown
    for filter, expected in {
        "taken >= 2020-02": [None],
        "taken < 2020-02-01T00:00:01": [170, None],
        "taken == '2020-01-13'": [170],
        "taken in [2020-01-13, 2020-02-01]": [170, None],
        "taken != 2020-01-13": [None, 180],
        "not taken < 2021": [180],
        "taken is empty": [180],
        f"`{NAME}` > 170": [180],
        f"`{NAME}` <= 180": [170, 180],
        f"not `{NAME}` > 170": [170, None],
        f"`{NAME}` is empty": [None],
        "描述 == '狗' or 描述 is empty": [170, None],
        "`not`": [170],
        "not `not`": [None, 180],
        "`not` is not empty": [170, 180],
        "embedding < 0.5": [180],
        "embedding is empty or _hash is empty": [170, None],
        "like >= 'y'": [None, 180],
        "`😀 a.b` > 2019-05-01": [170, 180],
    }.items():
        assert found(settings, filter) == expected, filter


@pytest.mark.long
def test_a_column_stored_as_text_stays_text_until_its_type_is_asked_for(settings: Settings, photos: Photos) -> None:
    source = table(photos, {"taken": ["01/02/2020", "03/04/2020", "soon"], "n": ["1", "2", "x"]})
    run_insert(source, settings)
    source = table(photos, {"taken": ["01/02/2020", "03/04/2020", "05/06/2020"], "n": ["1", "2", "3"]})
    assert did(run_insert(source, settings)) == {"unchanged": 2, "metadata_updated": 1}
    assert found(settings, "n == '3'", "taken") == ["05/06/2020"]
    summary = run_insert(source, settings, types=["taken=date:dmy", "n=int"])
    assert (did(summary), summary.copied) == ({"unchanged": 3}, 3)
    assert found(settings, "n >= 2 and taken >= 2020-04-03", "taken") == ["2020-04-03", "2020-06-05"]
    with pytest.raises(InputError, match=r"holds dates in the collection, .* --types taken=date:dmy or date:mdy"):
        run_insert(source, settings)
    assert did(run_insert(source, settings, types=["taken=date:dmy"])) == {"unchanged": 3}
    assert run_insert(source, settings, types=["taken=text", "n=float"]).copied == 3
    assert found(settings, "n > 2.5", "taken") == ["05/06/2020"]


def test_a_stored_cell_of_another_source_that_does_not_fit_is_named(lite: Settings, photos: Photos) -> None:
    run_insert(table(photos, {"n": ["x"]}, "other.csv", first=5), lite, metadata=False)
    source = table(photos, {"n": ["1", "2"]})
    run_insert(source, lite)
    with pytest.raises(
        InputError, match=r"image \d+ \(.*00005.jpg\), column 'n': 'x' is no int, which --types asks for"
    ):
        run_insert(source, lite, types=["n=int"])
    (field,) = collection_of(lite).fields()
    assert (field.type, collection_of(lite).count()) == (FieldType.TEXT, 3)
    assert not Collection(lite.uri, lite.collection + "__rebuild").exists()


@pytest.mark.long
def test_a_stored_cell_that_the_source_replaces_need_not_fit(lite: Settings, photos: Photos) -> None:
    run_insert(table(photos, {"n": ["1", "x"]}), lite)
    summary = run_insert(table(photos, {"n": ["1", "2"]}), lite, types=["n=int"])
    assert did(summary) == {"unchanged": 1, "metadata_updated": 1}
    assert found(lite, "n > 0", "n") == [1, 2]


def test_dates_that_are_stored_as_text_are_pointed_out(lite: Settings, photos: Photos) -> None:
    run_insert(table(photos, {"taken": ["soon"]}), lite)
    summary = run_insert(table(photos, {"taken": ["2020-05-01"]}), lite)
    assert summary.notes == ["column 'taken' is stored as text; --types taken=date makes dates of it"]


def test_an_undecided_date_is_pointed_out_at_the_end_of_the_run(lite: Settings, photos: Photos) -> None:
    (note,) = run_insert(table(photos, {"taken": ["01/02/2020"]}), lite).notes
    assert "--types taken=date:dmy" in note


def test_a_type_that_does_not_fit_stops_the_run_before_any_work(lite: Settings, photos: Photos) -> None:
    with pytest.raises(InputError, match="row 3, column 'n': 'x' is no int"):
        run_insert(table(photos, {"n": ["1", "x"]}), lite, types=["n=int"])
    assert not collection_of(lite).exists()

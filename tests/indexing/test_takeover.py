"""A row takes over from one with another id, in a run that is killed before it deletes the other one."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from pipelines import Settings, run_insert
from pipelines.milvus import schema
from pipelines.milvus.connection import close
from tests.support.insert import all_rows, did
from tests.support.killed import run_and_kill
from tests.support.photos import Photos, draw_images, write_csv


@pytest.mark.long
def test_a_run_after_a_killed_one_deletes_what_that_left(settings: Settings, photos: Photos) -> None:
    run_insert(photos.folder, settings)
    table = write_csv(photos.folder.parent / "ids.csv", ["id", "path"], list(enumerate(photos.paths)))
    run_and_kill(table, settings, {"rejects": os.devnull}, at=2)
    assert len(all_rows(settings)) == 24
    close(settings.uri)
    others = photos.folder.parent / "others"
    draw_images(others, 1)
    run_insert(others, settings)  # any run repairs it
    rows = {key: row for key, row in all_rows(settings).items() if row["path"] in map(str, photos.paths)}
    assert sorted(rows) == list(range(12))
    assert all(row[schema.SIZE] < 0 for row in rows.values())
    assert did(run_insert(table, settings)) == {"metadata_updated": 12}
    assert did(run_insert(table, settings)) == {"unchanged": 12}


@pytest.mark.long
def test_rows_that_took_over_are_unchanged_in_the_next_run(lite: Settings, photos: Photos) -> None:
    run_insert(photos.folder, lite)
    run_insert(photos.csv, replace(lite, batch_size=5))
    assert sorted(all_rows(lite)) == list(range(12))
    assert did(run_insert(photos.csv, lite)) == {"unchanged": 12}

"""Results as CSV: names and cells that a spreadsheet would run as a formula are written as texts."""

from __future__ import annotations

import csv
import io

from pipelines.search.results import Hit, to_csv


def test_neither_a_name_nor_a_cell_is_a_formula() -> None:
    fields = {"=SUM(A1)": "=1+1", "Größe, cm": 3, "taken": "2020-05-01"}
    header, row = csv.reader(io.StringIO(to_csv([Hit(1, 7, 0.5, "/a.jpg", fields)], [*fields])))
    assert header == ["rank", "id", "score", "path", "'=SUM(A1)", "Größe, cm", "taken"]
    assert row == ["1", "7", "0.5", "/a.jpg", "'=1+1", "3", "2020-05-01"]

"""The report: refused before measuring if it cannot be written, whole in one file, private and readable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import InputError
from pipelines.evaluation.charts import class_chart, rank_chart
from pipelines.evaluation.exact import EmbeddingTable
from pipelines.evaluation.query_set import Task
from pipelines.evaluation.report import write_report
from tests.support.photos import Photos
from tests.support.program import CommandResult


def test_a_report_is_refused_before_measuring_and_written_whole(
    photos: Photos, tmp_path: Path, quick_command: Callable[..., CommandResult]
) -> None:
    place, target = tmp_path / "search.db", tmp_path / "report.html"
    assert quick_command("insert", photos.csv, "--uri", place, "--model", "builtin").status == 0
    done = quick_command("evaluate", "--uri", place, "--report", target, "--runtime", "pytorch")
    assert done.status == 0, done.err
    assert f"report: {target}" in done.err
    page = target.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "data:image/jpeg;base64," in page
    assert len(page) < 1_000_000
    assert str(photos.paths[0].parent) not in page, "a report that is passed on hides its author's folders"
    assert f'title="{photos.paths[0].name}"' in page
    assert "of the first 10 images are of that class on average" in page
    assert "bootstrap" in page
    assert ">0.0 %<" not in page.replace("<b>0.0 %", ""), "no bar of 0.0 %"
    with pytest.raises(InputError, match="No such file or directory"):
        write_report(str(tmp_path / "no" / "r.html"), None)
    with pytest.raises(InputError, match="it is a folder"):
        write_report(str(tmp_path), None)
    assert not list(tmp_path.glob(".*.part"))


def test_many_classes_fold_and_classes_without_a_hit_are_listed_without_a_bar() -> None:
    groups = {f"class {n:04}": n / 2000 for n in range(1500)}
    chart = class_chart([Task("labels", "", 1, 1, {}, groups, [1], [])])
    assert chart.first[0].label == "class 1499"
    assert chart.last[-1].label == "class 0001"
    assert chart.zero == ["class 0000"]
    assert len(chart.first) + len(chart.between) + len(chart.last) + chart.left_out + len(chart.zero) == 1500
    assert len(chart.between) == 500


def test_ranks_that_no_query_has_are_not_drawn() -> None:
    bars = rank_chart([Task("labels", "", 4, 40, {}, {}, [1, 1, 3, 40], [])])
    assert [(bar.label, bar.shares) for bar in bars] == [("1", [0.5]), ("2–5", [0.25]), ("21–40", [0.25])]


def test_images_are_named_below_the_folder_they_share() -> None:
    def names(*paths: str) -> list[str]:
        return EmbeddingTable(np.arange(len(paths)), list(paths), [], np.empty((0, 1))).names

    assert names("/home/ada/photos/2024/a.jpg", "/home/ada/photos/b.jpg") == ["2024/a.jpg", "b.jpg"]
    assert names("/home/ada/a.jpg", "/mnt/disk/b.jpg") == ["a.jpg", "b.jpg"]
    assert names("https://host/a.jpg?token=x", "/home/ada/b.jpg") == ["https://host/a.jpg", "b.jpg"]

"""From evaluations to the page."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..metrics import Estimate
from ..published import compare_all
from ..report_text import figure, index_rows
from ..results import Evaluation, Task
from .chart import class_chart, rank_chart
from .thumbnails import thumbnails

_KINDS = ("best", "worst")
_MEANINGS = {
    "recall@1": "queries with a right answer in first place",
    "recall@5": "queries with a right answer among the first 5",
    "recall@10": "queries with a right answer among the first 10",
    "precision@10": "right answers among the first 10",
    "mAP@10": "precision at each right answer, averaged over min(10, right ones)",
    "MRR": "mean of 1 / rank of the first right answer",
    "R-precision": "right answers among the first R, R being how many there are",
}


def render_page(evaluations: Sequence[Evaluation], published: str, allow_private: bool = False) -> str:
    """One HTML file that holds everything; every name a user gave is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(percent=_percent, filename=_filename)
    return environment.get_template("page.html.j2").render(
        first=evaluations[0],
        models=[evaluation.title for evaluation in evaluations],
        sections=[_section(task, evaluations) for task in evaluations[0].tasks],
        index_rows=index_rows([evaluation.index for evaluation in evaluations]),
        comparisons=compare_all(evaluations, published),
        notes=list(dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes)),
        images=thumbnails(_images_of(evaluations), allow_private),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _section(task: Task, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """One way of asking, the models side by side."""
    tasks = [evaluation.task(task.key) for evaluation in evaluations]
    return {
        "task": task,
        "figures": [
            (name, _MEANINGS[name], [_cell(name, other.figures[name]) if other else None for other in tasks])
            for name in task.figures
        ],
        "classes": class_chart(tasks) if task.groups else None,
        "ranks": rank_chart(tasks),
        "examples": [
            (evaluation.title, [(kind, [item for item in other.examples if item.kind == kind]) for kind in _KINDS])
            for evaluation, other in zip(evaluations, tasks, strict=True)
            if other is not None
        ],
    }


def _cell(name: str, estimate: Estimate) -> dict[str, Any]:
    value, _, interval = figure(name, estimate).partition(" [")
    return {"value": value, "interval": "[" + interval, "estimate": estimate}


def _images_of(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    for example in (item for evaluation in evaluations for task in evaluation.tasks for item in task.examples):
        if example.is_image:
            yield example.query
        yield from (answer.text for answer in example.answers if answer.is_image)


def _percent(share: float) -> str:
    """A share as CSS and SVG take it."""
    return f"{share * 100:.2f}%"


def _filename(path: str) -> str:
    return posixpath.basename(path.replace("\\", "/").rstrip("/")) or path

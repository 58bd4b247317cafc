"""The report of an evaluation: tables for a terminal, JSON, or one HTML page with charts and images inside."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import InputError, counted
from ..files import part_path, write_atomically
from .charts import class_chart, rank_chart
from .evaluator import Evaluation
from .metrics import Estimate
from .published import Comparison, compare
from .query_set import Task

INTERVALS = (
    "In brackets: the range of 95 % of the values a figure takes when its queries are drawn again at random, some of "
    "them twice (bootstrap)."
)
MEANINGS = {
    "recall@1": "queries with a right answer in first place",
    "recall@5": "queries with a right answer among the first 5",
    "recall@10": "queries with a right answer among the first 10",
    "precision@10": "right answers among the first 10",
    "mAP@10": "precision at each right answer, averaged over min(10, right ones)",
    "MRR": "mean of 1 / rank of the first right answer",
    "R-precision": "right answers among the first R, R being how many there are",
}
_THUMBNAIL_PIXELS, _JPEG_QUALITY = 104, 68


@dataclass(frozen=True)
class Report:
    """Evaluations of the same images, side by side; `published` names the benchmark to compare with, '' for none."""

    evaluations: Sequence[Evaluation]
    published: str = ""

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The comparisons of the models that have published figures."""
        found = [compare(evaluation, self.published) for evaluation in self.evaluations] if self.published else []
        return [comparison for comparison in found if comparison is not None]

    @property
    def titles(self) -> list[str]:
        """The heading of each model's column."""
        return [evaluation.title for evaluation in self.evaluations]

    @property
    def notes(self) -> list[str]:
        """The notes for the reader, without repetitions."""
        notes = [note for evaluation in self.evaluations for note in evaluation.notes]
        if self.published and not self.comparisons:
            notes.append(f"no published figures for {', '.join(self.titles)} on {self.published}")
        return list(dict.fromkeys(notes))

    def as_json(self) -> str:
        """Return all figures as JSON."""
        values = {
            "evaluations": [evaluation.as_json() for evaluation in self.evaluations],
            "published": [asdict(comparison) for comparison in self.comparisons],
        }
        return json.dumps(values, ensure_ascii=False, indent=2)

    def as_text(self) -> str:
        """Return tables for a terminal, in Markdown."""
        first = self.evaluations[0]
        parts = [f"Collection '{first.collection}': {', '.join(facts(first))}.", "\n".join(summary(first)), INTERVALS]
        for task in first.tasks:
            title = f"{task.title} ({queries(task.queries)}, {counted(task.candidates, 'candidate')})"
            columns = [evaluation.task(task.key) for evaluation in self.evaluations]
            rows = [
                [name, *(figure(name, own.figures[name]) if own else "–" for own in columns)] for name in task.figures
            ]
            parts.append(_table(rows, [title, *self.titles]))
        parts.append(_table(self._index_rows(), [f"the index itself ({queries(first.index.queries)})", *self.titles]))
        parts += [_published_table(comparison) for comparison in self.comparisons]
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])

    def as_html(self, allow_private: bool = False) -> str:
        """Return one HTML page that needs no other file; names from the user's data are escaped.

        Args:
            allow_private: images may be fetched from private addresses.
        """
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        folder = FileSystemLoader(Path(__file__).parent)
        page = Environment(
            loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        page.filters.update(percent=lambda share: f"{share * 100:.2f}%")  # the form that CSS and SVG need
        examples = [item for evaluation in self.evaluations for task in evaluation.tasks for item in task.examples]
        paths = [path for item in examples for path in (item.path, *(answer.path for answer in item.answers)) if path]
        return page.get_template("report.html.j2").render(
            report=self, first=self.evaluations[0], facts=facts(self.evaluations[0]), intervals=INTERVALS,
            summary=summary(self.evaluations[0]), figure=figure, meanings=MEANINGS, index_rows=self._index_rows(),
            queries=queries, counted=counted, sections=[self._section(task) for task in self.evaluations[0].tasks],
            images=thumbnails(list(dict.fromkeys(paths)), allow_private),
            made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        )  # fmt: skip

    def _section(self, task: Task) -> dict[str, Any]:
        tasks = [evaluation.task(task.key) for evaluation in self.evaluations]
        return {
            "task": task, "tasks": tasks, "ranks": rank_chart(tasks),
            "classes": class_chart(tasks) if task.groups else None,
        }  # fmt: skip

    def _index_rows(self) -> list[list[str]]:
        """Return what the index loses and how long a query takes: a name, then a text for each model."""
        indexes = [evaluation.index for evaluation in self.evaluations]
        rows = [
            ["index", *(own.index for own in indexes)],
            [f"recall@{indexes[0].k} against exact search", *(figure("", own.recall) for own in indexes)],
            ["recall of the first 1,000 hits", *(figure("", own.deep) for own in indexes)],
            [f"recall@{indexes[0].k} with a filter", *(figure("", own.filtered) for own in indexes)],
            ["recall of 5 pages of 24", *(figure("", own.paged) for own in indexes)],
            ["search, p50 / p95", *(_milliseconds(own.search_p50_ms, own.search_p95_ms) for own in indexes)],
        ]
        if indexes[0].embed_p50_ms is not None:
            latencies = [_milliseconds(own.embed_p50_ms, own.embed_p95_ms) for own in indexes]
            rows.append(["embedding a text, p50 / p95", *latencies])
        return rows


def facts(evaluation: Evaluation) -> list[str]:
    """Return the numbers of what was measured: '1,000 images', '100 classes', …"""
    return [
        counted(evaluation.images, "image"), counted(evaluation.classes, "class", "classes"),
        counted(evaluation.captions, "caption"),
        *([counted(evaluation.templates, "prompt template")] if evaluation.classes else []),
    ]  # fmt: skip


def queries(count: int) -> str:
    """Return a number of queries in words."""
    return counted(count, "query", "queries")


def summary(evaluation: Evaluation) -> list[str]:
    """Return the main figures as sentences."""
    sentences = []
    names, captions = evaluation.task("labels"), evaluation.task("text_to_image")
    if names is not None:
        hits, first = names.figures["precision@10"].value * 10, names.figures["recall@1"].value
        sentences.append(
            f"Searching for a class by its name, {hits:.1f} of the first 10 images are of that class on average; "
            f"the first image is right for {first:.0%} of the names.".replace("%", " %")
        )
    if captions is not None:
        within, first = captions.figures["recall@10"].value, captions.figures["recall@1"].value
        sentences.append(
            f"Searching by a caption, the image it describes is among the first 10 for {within:.0%} of the captions, "
            f"in first place for {first:.0%}.".replace("%", " %")
        )
    loss = 1 - evaluation.index.recall.value
    lost = f"misses {loss:.1%} of them".replace("%", " %") if loss >= 0.0005 else "finds the same"
    return [*sentences, f"Compared with the first {evaluation.index.k} hits of an exact search, the index {lost}."]


def figure(name: str, estimate: Estimate) -> str:
    """Return `54.0 % [44.0, 63.0]`; the MRR, which is not a share, as `0.540 [0.440, 0.630]`."""
    if name == "MRR":
        return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value * 100:.1f} % [{estimate.low * 100:.1f}, {estimate.high * 100:.1f}]"


def thumbnails(paths: Sequence[str], allow_private: bool) -> dict[str, tuple[int, str]]:
    """Return a number and a small JPEG, as a `data:` URL, for each image that can be read.

    The JPEG is square, as the model sees the image. The page holds each URL once, however often it shows the image.
    """

    import cv2

    from ..operators.image_decode import ImageDecode

    decode = ImageDecode("bgr", _THUMBNAIL_PIXELS, reasons=True, allow_private=allow_private, deadline=True)
    images, _ = decode(list(paths))
    decode.flush()
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    small = [cv2.imencode(".jpg", image, quality)[1].tobytes() if image.size else b"" for image in images]
    # The page shows the name instead of an image that cannot be read.
    return {
        path: (number, "data:image/jpeg;base64," + base64.b64encode(data).decode())
        for number, (path, data) in enumerate(zip(paths, small, strict=True))
        if data
    }


def write_report(path: str, page: str | None) -> None:
    """Write a page to a file. None only checks that a page could be written, before anything is measured.

    Raises:
        InputError: the page cannot be written.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    try:
        if target.is_dir():
            raise OSError("it is a folder")
        if page is None:
            part_path(target).touch()
            part_path(target).unlink()
        else:  # a path that is not UTF-8 keeps its bytes as \\xNN
            write_atomically(target, lambda part: part.write_text(page, encoding="utf-8", errors="backslashreplace"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--report {path}: {reason}; name a file in a folder that can be written") from error


def _milliseconds(p50: float | None, p95: float | None) -> str:
    return "–" if p50 is None or p95 is None else f"{p50:.1f} / {p95:.1f} ms"


def _published_table(comparison: Comparison) -> str:
    rows = [
        [item.task, item.metric, f"{item.measured:.1f} %", f"{item.published:.1f} %", f"{item.points:+.1f}",
         "yes" if item.within_interval else "no"]
        for item in comparison.differences
    ]  # fmt: skip
    headers = [comparison.model, "", "measured", f"published ({comparison.benchmark})", "points", "inside the interval"]
    return "\n".join([_table(rows, headers), *(f"\ncaution: {caveat}" for caveat in comparison.caveats)])


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))

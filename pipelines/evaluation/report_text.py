"""The evaluation as tables for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from .metrics import Estimate
from .published import Comparison
from .results import Evaluation, IndexLoss


def percent(estimate: Estimate) -> str:
    """`54.0 % [44.0, 63.0]`."""
    return f"{estimate.value:.1%} [{estimate.low * 100:.1f}, {estimate.high * 100:.1f}]".replace("%", " %")


def figure(name: str, estimate: Estimate) -> str:
    """MRR as a number, everything else in per cent."""
    if name == "MRR":
        return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
    return percent(estimate)


def render(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> str:
    """Everything that the command prints."""
    first = evaluations[0]
    head = f"{first.images:,} images, {first.classes:,} classes, {first.captions:,} captions"
    templates = f"; {first.templates:,} prompt template{'s' if first.templates > 1 else ''}" if first.classes else ""
    parts = [f"Collection '{first.collection}': {head}{templates}. In brackets: bootstrap 95 % intervals."]
    models = [evaluation.title for evaluation in evaluations]
    for task in first.tasks:
        columns = [other.task(task.key) for other in evaluations]
        rows = [
            [name, *(figure(name, column.figures[name]) if column else "–" for column in columns)]
            for name in task.figures
        ]
        title = f"{task.title} ({task.queries:,} queries, {task.candidates:,} candidates)"
        parts.append(_table(rows, [title, *models]))
    parts.append(
        _table(
            index_rows([evaluation.index for evaluation in evaluations]),
            [f"the index itself ({first.index.queries:,} queries)", *models],
        )
    )
    parts += [_published(comparison) for comparison in comparisons]
    parts += [f"note: {note}" for note in dict.fromkeys(note for item in evaluations for note in item.notes)]
    return "\n\n".join(parts)


def index_rows(losses: Sequence[IndexLoss]) -> list[list[str]]:
    """What the index loses and how long a query takes: a name, then a text for each model."""
    k = losses[0].k
    rows = [
        ["index", *(loss.index for loss in losses)],
        [f"recall@{k} against exact search", *(percent(loss.recall) for loss in losses)],
        ["search, p50 / p95", *(_ms(loss.search_p50_ms, loss.search_p95_ms) for loss in losses)],
    ]
    if losses[0].embed_p50_ms is not None:
        rows.append(["embedding a text, p50 / p95", *(_ms(loss.embed_p50_ms, loss.embed_p95_ms) for loss in losses)])
    return rows


def _ms(p50: float | None, p95: float | None) -> str:
    return "–" if p50 is None or p95 is None else f"{p50:.1f} / {p95:.1f} ms"


def _published(comparison: Comparison) -> str:
    rows = [
        [item.task, item.metric, f"{item.measured:.1f} %", f"{item.published:.1f} %", f"{item.points:+.1f}",
         "yes" if item.within_interval else "no"]
        for item in comparison.differences
    ]  # fmt: skip
    headers = [comparison.model, "", "measured", f"published ({comparison.benchmark})", "points", "inside the interval"]
    return "\n".join([_table(rows, headers), *(f"\ncaution: {caveat}" for caveat in comparison.caveats)])


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)

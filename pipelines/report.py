"""What the command line prints: progress bar, summary, hits, collection, models; as tables or as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .models.registry import list_models
from .settings import cache_dir

if TYPE_CHECKING:
    from .insert import Summary
    from .milvus.store import CollectionInfo
    from .search import Results


class ProgressBar:
    """Pictures done, pictures a second and time left, on stderr; nothing where nobody watches."""

    def __init__(self, hidden: bool = False) -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, summary: Summary, total: int) -> None:
        """Moves the bar to where the run is."""
        if self._hidden:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="img", dynamic_ncols=True, smoothing=0.1)
        self._bar.update(summary.rows - self._bar.n)
        if summary.rejected:
            self._bar.set_postfix(rejected=summary.rejected, refresh=False)


def print_summary(summary: Summary, as_json: bool) -> None:
    """The end of an insert run."""
    if as_json:
        print(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    kinds = ("inserted", "updated", "unchanged", "rejected")
    counts = ", ".join(f"{getattr(summary, kind):,} {kind}" for kind in kinds)
    print(f"{summary.rows:,} rows: {counts}")
    speed = f", {summary.images_per_second:,.0f} images/s" if summary.images_per_second else ""
    print(f"{summary.seconds:.1f} s{speed}, collection '{summary.collection}', model {summary.model}")
    if summary.rejected:
        print(f"the rejected pictures and why: {summary.rejects_file}")
    if summary.step_seconds:
        print("\nseconds per step (steps overlap, so the sum exceeds the wall-clock time)")
        _table([[step, f"{seconds:.3f}"] for step, seconds in summary.step_seconds.items()], ["step", "seconds"])
    if summary.interrupted:
        print("interrupted; everything counted above is stored: run the same command again to go on")


def print_hits(results: Results, field_names: list[str], form: str = "table", with_folded: bool = False) -> None:
    """The hits of a search, as a 'table', as 'json' or as 'csv'; what else is to be said, on stderr."""
    from .export import to_csv, to_json

    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    if form == "json":
        print(to_json(results.hits, with_folded))
    elif form == "csv":
        print(to_csv(results.hits, field_names, with_folded), end="")
    elif not results.hits:
        print("nothing found")
    else:
        _print_table_of(results, field_names, with_folded)


def _print_table_of(results: Results, field_names: list[str], with_folded: bool) -> None:
    rows = [
        [
            str(hit.rank), f"{hit.score:.4f}", _cell(hit.path), *([f"+{hit.folded}"] if with_folded else []),
            *(_cell(hit.fields.get(name)) for name in field_names),
        ]
        for hit in results.hits
    ]  # fmt: skip
    _table(rows, ["rank", "score", "path", *(["alike"] if with_folded else []), *field_names])


def print_info(info: CollectionInfo, as_json: bool) -> None:
    """What a collection holds."""
    fields = {field.name: field.type.value for field in info.fields}
    values = {**dataclasses.asdict(info), "fields": fields}
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    values["rows"] = f"{info.rows:,}"
    values["model"] = info.model or "(none yet)"
    values["fields"] = ", ".join(f"{name} ({kind})" for name, kind in fields.items()) or "(none)"
    for name, value in values.items():
        print(f"{name:<11}{value}")


def print_models(as_json: bool) -> None:
    """The registry, and where each model's weights are."""
    rows = []
    for spec in list_models():
        path = spec.weights.path or cache_dir() / spec.weights.file
        state = "shipped" if spec.weights.path else str(path) if path.exists() else "downloaded on first use"
        rows.append([spec.name, str(spec.dim), str(spec.image_size), spec.licence, state])
    names = ["name", "dim", "pixels", "licence", "weights"]
    if as_json:
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    else:
        _table(rows, names)


def _cell(value: Any) -> str:
    """A field on one line: what comes from a CSV may hold anything."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else "�" for character in text)


def _table(rows: list[list[str]], names: list[str]) -> None:
    """Columns as wide as their content, numbers to the right; plain text, good in a pipe."""
    from tabulate import tabulate

    print(tabulate(rows, headers=names, tablefmt="simple", disable_numparse=True))

"""What the command line prints: progress bar, summary, hits, collection, models; as tables or as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..milvus.index import loses_filtered_hits
from ..models.registry import ModelSpec, list_models
from ..models.runtime import choose_runtime
from ..settings import Settings, cache_dir

if TYPE_CHECKING:
    from ..indexing.summary import Summary
    from ..milvus.copy import CopySummary
    from ..milvus.schema import CollectionInfo
    from ..search.searcher import Results


class ProgressBar:
    """Images done, images a second and time left, on stderr; nothing where nobody watches."""

    def __init__(self, hidden: bool = False, unit: str = "img") -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._unit = unit
        self._bar: Any = None
        self._told = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, summary: Summary, total: int) -> None:
        """Moves the bar to where an insert run is; after Ctrl-C, says what it waits for."""
        self.show(summary.rows, total, **({"rejected": summary.rejected} if summary.rejected else {}))
        if summary.interrupted and not self._told:
            self._told = True
            words = "finishing what is in hand; Ctrl-C again ends at once"
            if self._bar is None:
                print(words, file=sys.stderr, flush=True)
            else:
                self._bar.write(words, file=sys.stderr)

    def show(self, done: int, total: int, **extra: float) -> None:
        """Moves the bar."""
        if self._hidden:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=self._unit, dynamic_ncols=True, smoothing=0.1)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if extra:
            self._bar.set_postfix(extra, refresh=False)


def print_summary(summary: Summary, as_json: bool) -> None:
    """The end of an insert run."""
    if as_json:
        print(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    always = ("inserted", "updated", "unchanged", "rejected")
    kinds = ("inserted", "updated", "deduplicated", "metadata_updated", "unchanged", "rejected")
    counts = {kind: getattr(summary, kind) for kind in kinds}
    print(f"{summary.rows:,} rows: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n or kind in always))
    if summary.removed:
        print(f"removed {summary.removed:,} rows whose file or line is gone")
    speed = f", {summary.images_per_second:,.0f} images/s" if summary.images_per_second else ""
    print(f"{summary.seconds:.1f} s{speed}, collection '{summary.collection}', model {summary.model}")
    if summary.rejected:
        print(f"the rejected images and why: {summary.rejects_file}")
    if summary.step_seconds:
        print(f"the model ran by {summary.runtime}")
        print("\nseconds per step (steps overlap, so the sum exceeds the wall-clock time)")
        _table([[step, f"{seconds:.3f}"] for step, seconds in summary.step_seconds.items()], ["step", "seconds"])
    if summary.interrupted:
        print("interrupted; everything counted above is stored: run the same command again to go on")


def print_copy(summary: CopySummary, as_json: bool) -> None:
    """The end of a copy."""
    if as_json:
        print(json.dumps({**dataclasses.asdict(summary), "verified": summary.verified}, ensure_ascii=False))
        return
    print(f"{summary.rows:,} rows: {summary.copied:,} copied, {summary.unchanged:,} were there already")
    print(f"{summary.seconds:.1f} s, {summary.rows_per_second:,.0f} rows/s, to {summary.target}")
    checked = f"{summary.sampled:,} rows compared value by value"
    counts = f"{summary.rows_in_source:,} rows in the source, {summary.rows_in_target:,} in the target"
    if summary.verified:
        print(f"verified: {counts}; {checked}, all equal")
    else:
        print(f"NOT verified: {counts}, {summary.rows:,} read; {checked}, {summary.different:,} differ: run it again")


def print_training(out: str, card: dict[str, Any], rejected: int, rejects_file: str, as_json: bool) -> None:
    """The end of a training run: held-out figures before and after."""
    if as_json:
        print(json.dumps({**card, "rejected": rejected}, ensure_ascii=False))
        return
    rows = [[name, f"{before:.3f}", f"{card['after'][name]:.3f}"] for name, before in card["before"].items()]
    _table(rows, [f"{card['images']['held_out']:,} held-out images", "before", "after"])
    print(f"\nthe best epoch was {card['best_epoch']}; search with it: --model {out if '/' in out else './' + out}")
    if rejected:
        print(f"{rejected:,} images could not be used; which and why: {rejects_file}")


def print_hits(results: Results, field_names: list[str], form: str = "table", with_folded: bool = False) -> None:
    """The hits of a search, as a 'table', as 'json' or as 'csv'; what else is to be said, on stderr."""
    from ..search.export import to_csv, to_json

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
    settings = Settings.from_env()
    runtime = choose_runtime(settings.runtime, settings.device)
    values = {**dataclasses.asdict(info), "fields": fields, "runtime": runtime}
    values["index"], values["metric"] = info.index.type, info.index.metric
    values["index_params"] = dict(info.index.params)
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    values["index"] = str(info.index)
    del values["index_params"]
    if loses_filtered_hits(info.uri, info.index.type):
        values["index"] += "; with a filter it can miss hits on Milvus Lite: insert again with --index auto"
    values["rows"] = f"{info.rows:,}"
    values["model"] = info.model or "(none yet)"
    values["fields"] = ", ".join(f"{name} ({kind})" for name, kind in fields.items()) or "(none)"
    for name, value in values.items():
        print(f"{name:<11}{value}")


def print_models(as_json: bool) -> None:
    """The registry, and where each model's weights are."""
    specs = [_model_row(spec) for spec in list_models()]
    if as_json:
        print(json.dumps(specs, indent=2))
        return
    shown = ("name", "dim", "pixels", "flickr30k", "coco", "licence", "weights")
    _table([["" if row[name] is None else str(row[name]) for name in shown] for row in specs], list(shown))
    print("\nflickr30k, coco: how often a caption finds its image first, in percent (text→image recall@1, zero-shot;")
    print("docs/openclip_retrieval_results.csv of open_clip); to be downloaded once, then checked by SHA-256")


def _model_row(spec: ModelSpec) -> dict[str, Any]:
    path = spec.weights.path or cache_dir() / spec.weights.file
    state = "shipped" if spec.weights.path else str(path) if path.exists() else "downloaded on first use"
    flickr, coco = spec.quality or (None, None)
    return {
        "name": spec.name, "dim": spec.dim, "pixels": spec.image_size, "activation": spec.activation,
        "flickr30k": flickr, "coco": coco, "licence": spec.licence.split(" (")[0], "weights": state,
        "repository": spec.weights.repository, "revision": spec.weights.revision, "sha256": spec.weights.sha256,
    }  # fmt: skip


def _cell(value: Any) -> str:
    """A field on one line: what comes from a CSV may hold anything."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else "�" for character in text)


def _table(rows: list[list[str]], names: list[str]) -> None:
    """Columns as wide as their content, numbers to the right; plain text, good in a pipe."""
    from tabulate import tabulate

    print(tabulate(rows, headers=names, tablefmt="simple", disable_numparse=True))

"""Print the results of all commands: tables, JSON, CSV."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ..settings import Settings

if TYPE_CHECKING:
    from ..indexing.prune import Pruned
    from ..indexing.summary import Summary
    from ..milvus.copy import CopySummary
    from ..milvus.schema import CollectionInfo
    from ..search.results import Results

# Width in characters at which a column is easy to read, and at which it is just readable.
_EASY, _NARROWEST = 20, 8
_KEPT_REASONS = 10


def print_summary(summary: Summary, settings: Settings, as_json: bool, to: str = "") -> None:
    """Print the result of an insert run, into Milvus or into the folder `to`, and what to do next."""
    for note in summary.notes:
        print(note, file=sys.stderr)
    for folder, reason in summary.unlisted.items():
        print(f"{folder} cannot be listed ({reason}): what it holds was left as it is", file=sys.stderr)
    if as_json:
        print(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    always = ("inserted", "updated", "unchanged", "rejected")
    names = ("inserted", "updated", "deduplicated", "moved", "metadata_updated", "unchanged", "rejected")
    counts = [(getattr(summary, name), name) for name in names if getattr(summary, name) or name in always]
    print(f"{_rows(summary.rows)}: " + ", ".join(f"{count:,} {name}" for count, name in counts))
    _print_losses(summary)
    speed = f", {summary.images_per_second:,.0f} images/s" if summary.images_per_second else ""
    place = f"files in {to}" if to else f"collection '{summary.collection}'"
    print(f"{summary.seconds:.1f} s{speed}, {place}, model {summary.model}")
    if summary.rejected or summary.unsupported:
        print(f"the rejected images and why: {summary.rejects_file}")
    _print_runtime(summary)
    if summary.interrupted:
        print("interrupted; everything counted above is stored: run the same command again to go on")
    elif to:
        print(f"\nnext:  {settings.command(f'import {shlex.quote(to)}')}")
    elif summary.rows > summary.rejected:
        search, serve = settings.command('search "a white dog"'), settings.command("serve")
        print(f"\nnext:  {search}\n       {serve}")


def _print_losses(summary: Summary) -> None:
    if summary.copied:
        print(f"copied the collection to take new columns ({_rows(summary.copied)}, nothing was embedded again)")
    if summary.read:
        read = sorted(summary.read.items(), key=lambda item: -item[1])
        print("read from the files: " + ", ".join(f"{column} {count:,}" for column, count in read))
    if summary.changed:
        print("changed: " + ", ".join(f"{column} {count:,}" for column, count in sorted(summary.changed.items())))
    if summary.broken:
        print(f"broken {summary.broken:,}: their files changed and cannot be used; they are no longer found")
    if summary.removed:
        print(f"removed {_rows(summary.removed)} whose file or line is gone; the list: {summary.pruned_file}")
    _print_kept(summary.kept)
    if summary.unsupported:
        print(f"files of kinds that cannot be read: {summary.unsupported:,}")


def _print_kept(kept: Mapping[str, int]) -> None:
    for reason, count in sorted(kept.items(), key=lambda item: -item[1])[:_KEPT_REASONS]:
        print(f"kept {_rows(count)}: {reason}", file=sys.stderr)
    if len(kept) > _KEPT_REASONS:
        print(f"kept {sum(kept.values()):,} rows in all, for {len(kept):,} reasons", file=sys.stderr)


def print_pruned(pruned: Pruned, dry_run: bool, as_json: bool) -> None:
    """Print what was removed or, in a dry run, what would be."""
    from ..indexing.prune import listed, write_rows

    _print_kept(pruned.kept)
    if as_json:
        values = {"removed": pruned.removed, "pruned_file": pruned.written_to, "kept": pruned.kept}
        print(json.dumps({**values, "rows": [*map(listed, pruned.rows)]} if dry_run else values, ensure_ascii=False))
    elif dry_run:
        write_rows(pruned.rows, sys.stdout)
    elif pruned.removed:
        print(f"removed {_rows(pruned.removed)}; the list: {pruned.written_to}")
    elif not pruned.rows:
        print("no file is gone")


def _print_runtime(summary: Summary) -> None:
    if summary.inserted or summary.updated:
        print(f"the model ran by {summary.runtime}")
    if summary.step_seconds:
        print("\nseconds per step (steps overlap, so the sum exceeds the wall-clock time)")
        print_table([[step, f"{seconds:.3f}"] for step, seconds in summary.step_seconds.items()], ["step", "seconds"])


def print_copy(summary: CopySummary, as_json: bool) -> None:
    """Print the result of a copy."""
    if as_json:
        print(json.dumps({**dataclasses.asdict(summary), "verified": summary.verified}, ensure_ascii=False))
        return
    print(f"{_rows(summary.rows)}: {summary.copied:,} copied, {summary.unchanged:,} there already")
    print(f"{summary.seconds:.1f} s, {summary.rows_per_second:,.0f} rows/s, to {summary.target}")
    checked = f"{_rows(summary.sampled)} compared value by value"
    counts = f"{_rows(summary.rows_in_source)} in the source, {summary.rows_in_target:,} in the target"
    if summary.rows_before:
        counts += f", which had {summary.rows_before:,}"
    if summary.verified:
        print(f"verified: {counts}; {checked}, all equal")
    else:
        print(f"NOT verified: {counts}, {summary.rows:,} read; {checked}, {summary.different:,} different: run again")


def print_training(out: str, card: dict[str, Any], rejected: int, rejects_file: str, as_json: bool) -> None:
    """Print the result of a training run: held-out figures before and after."""
    if as_json:
        print(json.dumps({**card, "rejected": rejected}, ensure_ascii=False))
        return
    rows = [[name, f"{before:.3f}", f"{card['after'][name]:.3f}"] for name, before in card["before"].items()]
    print_table(rows, [counted(card["images"]["held_out"], "held-out image"), "before", "after"])
    if card["best_epoch"] == 0:
        print(f"\nno epoch was better than the start ({card['base']}), whose weights {out} now holds: try a lower --lr")
    else:
        print(f"\nthe best epoch was {card['best_epoch']}; search with it: --model {out if '/' in out else './' + out}")
    if rejected:
        print(f"{counted(rejected, 'image')} could not be used; which and why: {rejects_file}")


def print_hits(results: Results, field_names: Sequence[str], form: str = "table", with_folded: bool = False) -> None:
    """Print the hits of a search as a 'table', as 'json' or as 'csv'; notes go to stderr."""
    from ..query.filters import format_column, format_value
    from ..search.results import to_csv, to_json

    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    for column, value, nearest in results.suggestions:
        meant = f": did you mean {', '.join(map(format_value, nearest))}?" if nearest else ""
        print(f"note: no image has {format_column(column)} == {format_value(value)}{meant}", file=sys.stderr)
    if form == "json":
        print(to_json(results.hits, with_folded))
    elif form == "csv":
        print(to_csv(results.hits, field_names, with_folded), end="")
    elif not results.hits:
        print("nothing found")
    else:
        _print_hits_table(results, field_names, with_folded)
        if results.total != results.rows:
            print(f"the filter leaves {results.total:,} of {counted(results.rows, 'image')}", file=sys.stderr)
        if results.above is not None:
            print(f"the minimum score leaves {counted(results.above, 'image')}", file=sys.stderr)


def _print_hits_table(results: Results, field_names: Sequence[str], with_folded: bool) -> None:
    filled = {name for hit in results.hits for name, value in hit.fields.items() if value not in (None, "")}
    field_names = [name for name in field_names if name in filled]  # only few files have values for many columns
    rows = [
        [
            str(hit.rank), str(hit.id), *([] if hit.score is None else [f"{hit.score:.4f}"]), _cell(hit.path),
            *([f"+{hit.folded}"] if with_folded else []), *(_cell(hit.fields.get(name)) for name in field_names),
        ]
        for hit in results.hits
    ]  # fmt: skip
    scored = ["score"] if results.hits[0].score is not None else []
    print_table(rows, ["rank", "id", *scored, "path", *(["alike"] if with_folded else []), *map(_cell, field_names)])


def print_info(info: CollectionInfo, precisions: Sequence[str], settings: Settings, as_json: bool) -> None:
    """Print what a collection holds."""
    from ..milvus.index import loses_filtered_hits
    from ..models.runtime import choose_runtime

    fields = {field.name: field.type.value for field in info.fields}
    runtime = choose_runtime(settings.runtime, settings.device, settings.model_url)
    values = {**dataclasses.asdict(info), "fields": fields, "runtime": runtime, "precision": list(precisions)}
    values |= {"index": info.index.type, "metric": info.index.metric, "index_params": dict(info.index.params)}
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    del values["index_params"], values["unindexed_rows"]
    values["index"] = str(info.index)
    if info.unindexed_rows:
        values["index"] += f"; searches can miss {_rows(info.unindexed_rows)} that the server has not indexed yet"
    if loses_filtered_hits(info.uri, info.index.type):
        values["index"] += "; with a filter it can miss hits on Milvus Lite: insert again with --index auto"
    values["rows"] = f"{info.rows:,}"
    values["precision"] = ", ".join(precisions) or "(unknown)"
    values["model"] = info.model or "(none yet)"
    values["fields"] = ", ".join(f"{_cell(name)} ({kind})" for name, kind in fields.items()) or "(none)"
    for name, value in values.items():
        print(f"{name:<11}{value}")


def _rows(count: int) -> str:
    return counted(count, "row")


def _cell(value: Any) -> str:
    """Return a value as printable text on one line: cells of a CSV may hold anything."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else "�" for character in text)


def print_table(rows: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Print plain columns. At a terminal, cells are wrapped so that all columns fit; in a pipe each row is a line."""
    import tabulate

    tabulate.MIN_PADDING = 0
    columns = list(zip(names, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    if sys.stdout.isatty():  # first between words, then inside words if that is not enough
        _shrink(_shrink(widths, [max(word, _EASY) for word in words]), [_NARROWEST] * len(names))
    print(tabulate.tabulate(rows, headers=names, tablefmt="simple", disable_numparse=True, maxcolwidths=widths))


def _shrink(widths: list[int], least: Sequence[int]) -> list[int]:
    """Make the widest columns narrower until all fit into the terminal, or each has its least width."""
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
    while sum(widths) > room and any(width > low for width, low in zip(widths, least, strict=True)):
        _, column = max((width, i) for i, width in enumerate(widths) if width > least[i])
        widths[column] -= 1
    return widths

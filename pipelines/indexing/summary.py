"""Outcomes: what became of each row of a run, added to the summary and to the list of rejected images."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ..engine import Profile
from ..fields import read_key
from ..sources.source import Findings, Row
from .reject_file import RejectFile

if TYPE_CHECKING:
    from .prune import Pruned


class Outcome(NamedTuple):
    """What became of one row. A row with a reason is rejected; otherwise `done` names its count in the summary.

    A rejected row is `done` as "broken" if its stored row, which has the embedding of another image, was deleted.
    row: the row as the source lists it.
    changed: the columns, by key, that got another value in a row that was stored before.
    id: the id under which the row is stored, or would be.
    read: the columns, by key, for which the file had a value.
    """

    row: Row
    done: str = ""
    reason: str = ""
    changed: tuple[str, ...] = ()
    id: int = 0
    read: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The count of the summary to which the row adds."""
        return "rejected" if self.reason else self.done


@dataclass
class Summary:
    """The numbers of an insert run. `rows` is the number of rows seen; the seven counts after it add up to it.

    inserted: new and embedded.
    updated: the image changed and was embedded again.
    deduplicated: an image with the same bytes was already embedded, under another id; its embedding was reused.
    moved: the file has moved; the row keeps its id and its embedding.
    metadata_updated: the image is the same; a column, the sources, the file's time or its path changed.
    unchanged: nothing was done.
    rejected: not usable; `rejects_file` says why.
    broken: rejected rows that were stored before their file broke, and were deleted.
    changed: column → number of stored rows in which it got another value.
    read: column → number of files read in this run that have a value for it.
    removed: rows that `--prune` removed; not among `rows`.
    kept: reason → number of rows that `--prune` kept because their file could not be seen.
    pruned_file: the CSV that lists the removed rows.
    copied: rows of the collection that were copied, without embedding them, to take new columns; not among `rows`.
    unsupported: files in a folder whose kind cannot be read; in `rejects_file`, but not among `rows`.
    unfinished: files that were skipped because another program may still be writing them; not among `rows`.
    unlisted: folders that cannot be listed, with the reason. Nothing below them was pruned.
    notes: what else the user should know about the source.
    runtime: what ran the model, the batch size and the number of threads.
    """

    source: str
    collection: str
    model: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deduplicated: int = 0
    moved: int = 0
    metadata_updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    broken: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    removed: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    pruned_file: str = ""
    copied: int = 0
    unsupported: int = 0
    unfinished: int = 0
    unlisted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0
    interrupted: bool = False
    rejects_file: str = ""
    runtime: str = ""
    step_seconds: dict[str, float] = field(default_factory=dict)


def add_up(first: Summary, parts: Iterable[Summary]) -> Summary:
    """Return the first summary with the counts, lists and mappings of the parts added."""
    total = dataclasses.replace(first)
    for part in parts:
        for name, value in vars(part).items():
            own = getattr(total, name)
            if isinstance(value, dict):
                counts = {key: own.get(key, 0) + count for key, count in value.items() if isinstance(count, int)}
                setattr(total, name, {**own, **value, **counts})
            elif isinstance(value, list):
                setattr(total, name, list(dict.fromkeys([*own, *value])))
            elif isinstance(value, int) and not isinstance(value, bool):
                setattr(total, name, own + value)
    return total


# Called with the summary so far and the number of expected rows.
Progress = Callable[[Summary, int], None]


class Tally:
    """Counts outcomes, lists the rejected images, and reports progress after each batch."""

    def __init__(self, summary: Summary, rejects: RejectFile, on_progress: Progress | None = None) -> None:
        self._summary = summary
        self._rejects = rejects
        self._on_progress = on_progress or (lambda summary, total: None)
        self._start = time.perf_counter()
        self._expected = 0
        self.rejected_ids: set[int] = set()

    def fold(self, batches: Iterable[list[Outcome]], expected: int = 0) -> None:
        """Add outcomes to the summary and to the list of rejected images; `expected` is the number of their rows."""
        self._expected += expected
        for outcomes in batches:
            self._summary.rows += len(outcomes)
            for kind, count in Counter(outcome.kind for outcome in outcomes).items():
                setattr(self._summary, kind, getattr(self._summary, kind) + count)
            self._rejects.look_at(outcome.row for outcome in outcomes)
            _count(self._summary.changed, (outcome.changed for outcome in outcomes))
            _count(self._summary.read, (outcome.read for outcome in outcomes))
            for row, done, reason, _, key, _ in outcomes:
                if reason:
                    self._summary.broken += done == "broken"
                    self.rejected_ids.add(key)
                    self._rejects.add(row, reason)
            self._rejects.flush()
            self._on_progress(self._summary, self._expected)

    def add_findings(self, findings: Findings) -> None:
        """Add what a source found besides its rows to the summary and to the list of rejected images."""
        self._summary.notes = findings.notes
        self._summary.unlisted = findings.unlisted
        self._summary.unsupported = len(findings.unsupported)
        self._rejects.look_at(row for row, _ in findings.unsupported)
        for row, reason in findings.unsupported:
            self._rejects.add(row, reason)

    def add_pruned(self, pruned: Pruned) -> None:
        """Add what was pruned to the summary."""
        self._summary.removed, self._summary.pruned_file = pruned.removed, pruned.written_to
        self._summary.kept = dict(pruned.kept)

    def interrupt(self) -> None:
        """Mark the summary as that of an interrupted run, and report it."""
        self._summary.interrupted = True
        self._on_progress(self._summary, self._expected)

    def close(self, profile: Profile | None) -> None:
        """Add the duration, what depends on it, and the name of the reject list to the summary."""
        summary, seconds = self._summary, time.perf_counter() - self._start
        summary.seconds = round(seconds, 3)
        summary.images_per_second = round((summary.inserted + summary.updated) / seconds, 1)
        summary.rejects_file = self._rejects.written_to
        taken: defaultdict[str, float] = defaultdict(float)
        for step, duration in profile or ():
            taken[step] += duration
        summary.step_seconds = {step: round(total, 3) for step, total in taken.items()}


def _count(counts: dict[str, int], columns: Iterable[tuple[str, ...]]) -> None:
    """Count each occurrence of a column, given by its key, under the column's name."""
    for key, count in Counter(chain.from_iterable(columns)).items():
        name = read_key(key)[0]
        counts[name] = counts.get(name, 0) + count

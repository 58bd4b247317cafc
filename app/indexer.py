"""Indexing by the page itself: one source after the other, in a thread beside the searches."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.errors import MissingFile, SearchError
from pipelines.fetch.read import is_remote
from pipelines.indexing.prune import source_name
from pipelines.indexing.run import run_insert
from pipelines.indexing.summary import Summary
from pipelines.settings import Settings
from pipelines.threads import allowed_cores

from .problems import kind_of
from .watcher import follow

# Seconds for which a file must have been unchanged before it is read, and seconds to wait after a change.
REST_SECONDS = 2.0
# Batches are small, and use half of the cores: a search waits for the current batch, and shares the cores with it.
_BATCH_SIZE = 8
_STOP_SECONDS = 30.0
# Largest share of a source's rows to remove. Above it nothing is removed: a disk may have been unplugged.
_MOST_REMOVED = 0.1

State = Literal["waiting", "indexing", "done", "failed"]

log = logging.getLogger(__name__)


@dataclass
class Job:
    """A source and the progress of its indexing.

    message: why it failed, or what was not done.
    key, values: the text of the page for that, and the values of its placeholders.
    """

    source: str
    is_watched: bool = False
    state: State = "waiting"
    rows: int = 0
    total: int = 0
    images_per_second: float = 0.0
    seconds_left: int = 0
    message: str = ""
    key: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def tell(self, message: str = "", key: str = "", **values: str) -> None:
        """Set why it failed, or what was not done."""
        self.message, self.key, self.values = message, key, values


class Indexer:
    """Indexes sources into the collection of the page. While it has a Milvus Lite file open, no other process can.

    on_indexed: called after each successful run.
    """

    def __init__(self, settings: Settings, on_indexed: Callable[[], None] = lambda: None) -> None:
        threads = settings.threads or max(1, allowed_cores() // 2)
        self._settings = dataclasses.replace(
            settings, threads=threads, batch_size=settings.batch_size or _BATCH_SIZE
        )  # fmt: skip
        self._on_indexed = on_indexed
        self._jobs: dict[str, Job] = {}
        self._due: dict[str, float] = {}  # source → when its next run may begin
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None

    def add(self, source: str, watch: bool = False) -> None:
        """Index a folder or a CSV file. With `watch`, also index its later changes.

        Raises:
            MissingFile: there is no such folder or file.
        """
        name = source_name(source)
        if not is_remote(name) and not Path(name).exists():
            raise MissingFile(f"there is no folder or file {name}")
        with self._changed:
            job = self._jobs.setdefault(name, Job(name))
            starts_watching = watch and not job.is_watched
            job.is_watched = job.is_watched or watch
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="indexer", daemon=True)
                self._worker.start()
        if starts_watching:
            watching = [name, lambda: self._want(name, REST_SECONDS), self._stop]
            threading.Thread(target=follow, args=watching, name="watcher", daemon=True).start()
        self._want(name)

    def jobs(self) -> list[Job]:
        """Return a copy of every job."""
        with self._changed:
            return [dataclasses.replace(job) for job in self._jobs.values()]

    def close(self) -> None:
        """End the current run as Ctrl-C does: rows that are already embedded are stored."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        if self._worker is not None:
            self._worker.join(_STOP_SECONDS)

    def _want(self, source: str, seconds: float = 0.0) -> None:
        """Schedule a run of a source after this many seconds, unless an earlier one is already scheduled."""
        with self._changed:
            due = time.monotonic() + seconds
            self._due[source] = min(due, self._due.get(source, due))
            self._changed.notify()

    def _work(self) -> None:
        for job in self._due_jobs():
            start = time.monotonic()
            self._index(job)
            with self._changed:  # pause for as long as the run took, so that indexing takes at most half of the time
                pause = 2 * time.monotonic() - start
                self._due = {source: max(due, pause) for source, due in self._due.items()}

    def _due_jobs(self) -> Iterator[Job]:
        while not self._stop.is_set():
            with self._changed:
                source, due = min(self._due.items(), key=lambda item: item[1], default=("", time.monotonic() + 60))
                if due > time.monotonic():
                    self._changed.wait(due - time.monotonic())
                    continue
                del self._due[source]
                job = self._jobs[source]
            yield job

    def _index(self, job: Job) -> None:
        start = time.monotonic()

        def report(summary: Summary, total: int) -> None:
            if self._stop.is_set() and not summary.interrupted:
                raise KeyboardInterrupt
            new = summary.inserted + summary.updated
            job.images_per_second = round(new / (time.monotonic() - start), 1)
            job.rows, job.total = summary.rows, total
            job.seconds_left = round((total - summary.rows) / job.images_per_second) if job.images_per_second else 0

        def may_remove(gone: int, total: int) -> bool:
            if gone <= _MOST_REMOVED * total:
                return True
            command = self._settings.command("prune")
            job.tell(
                f"files that are gone: {gone:,} of {total:,}; nothing was removed. "
                f"If they are to go, stop the page: {command}",
                "indexing_gone", gone=str(gone), total=str(total), command=command,
            )  # fmt: skip
            return False

        job.state, job.rows, job.total = "indexing", 0, 0
        job.tell()
        try:
            summary = run_insert(
                job.source, self._settings, prune=may_remove if job.is_watched else None, rest_seconds=REST_SECONDS,
                on_progress=report,
            )  # fmt: skip
        except SearchError as error:
            kind = kind_of(error)
            job.tell(str(error), "indexing_failed" if kind.place else kind.key)  # texts with a place are for searches
            job.state = "failed"
        except Exception as error:
            log.exception("indexing %s failed", job.source)
            job.tell(f"{type(error).__name__}: {error}", "indexing_failed")
            job.state = "failed"
        else:
            self._on_indexed()
            job.state = "done"
            if summary.rejected and not job.message:
                message = f"images that cannot be used: {summary.rejected:,}, listed in {summary.rejects_file}"
                job.tell(message, "indexing_rejected", count=str(summary.rejected), file=str(summary.rejects_file))
            if summary.unfinished:
                self._want(job.source, REST_SECONDS)

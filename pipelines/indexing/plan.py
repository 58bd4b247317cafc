"""Planning: decides what to do for each row of a source, so that a second run repeats no work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..engine import Profile
from ..fetch.read import is_remote
from ..fields import ID, PATH, Field
from ..images.metadata import MODIFIED, local_time
from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Row, Source
from .contents import Contents, hash_files
from .gone import GoneFiles
from .identity import Identity, Match
from .merge import Merger
from .prune import Listing
from .steps import Embed, Reuse, Step, same

# Number of rows planned together: as many as one look-up in Milvus takes.
PLAN_ROWS = 1000
# The file has to be read again when one of these changes.
_FILE_FIELDS = (PATH, schema.MTIME_NS, schema.SIZE, schema.MODEL)


class Planner:
    """Compares the rows of one source with a collection, by path, modification time, size and fields.

    Args:
        source: name of the source, stored with each row unless the row's fields name another one.
        known: the collection that holds the rows now, if `collection` will replace it.
        checksum: compare the content of the files instead of their time and size.
        threads: for hashing files, see `hash_files`.
        precision: of the embeddings that this run makes.
        fills: columns that the source fills only where they are empty, as a folder does with labels.
        rest_seconds: seconds that must have passed since a file changed before it is read.
        reads: the columns that are read from the files.
        reads_again: read them also from files that look unchanged.
    """

    def __init__(
        self, collection: Collection, model_id: str, source: str = "", checksum: bool = False,
        profile: Profile | None = None, threads: int = 0, precision: str = "", *,
        known: Collection | None = None, gone: GoneFiles | None = None, fills: Sequence[str] = (),
        reads: Sequence[Field] = (), reads_again: bool = False, rest_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self._collection, self._known, self._threads = collection, known or collection, threads
        self._reads, self._reads_again = bool(reads), reads_again
        self._modified = next((field.key for field in reads if field.name == MODIFIED), "")
        fields = collection.fields()
        self._from_file = {field.key: field.default for field in fields if field.from_file}
        self._contents = Contents(collection, model_id)
        self._known_contents = self._contents if self._known is collection else Contents(self._known, model_id)
        self._checksum = checksum
        self._profile = profile
        self._gone = gone = gone or GoneFiles(self._known)
        self._merger = Merger(fields, source, model_id, precision, gone, fills)
        self._compared = [*_FILE_FIELDS, schema.SOURCE, schema.KEY, *self._merger.columns]
        self._names = [schema.HASH, schema.DEVICE, *self._compared]
        self._identity = Identity(self._known, self._names, source, gone)
        self.listing = Listing()
        self.replaced: set[int] = set()  # former ids of rows that got the id of a CSV
        self._rest_seconds = rest_seconds
        self.unfinished: list[Embed] = []  # rows skipped because another program may still write their file

    def plans(self, source: Source, first: int) -> Iterator[list[Step]]:
        """Yield a plan for each chunk of the source. The first chunk has at most `first` rows.

        Planning reads the files, and the model is idle until the first plan.
        """
        for rows in _split_first(source.chunks(PLAN_ROWS), first):
            start = time.perf_counter()
            steps = self.plan(rows)
            if self._profile is not None:
                self._profile.append(("compare with the collection", time.perf_counter() - start))
            yield steps

    def plan(self, rows: Sequence[Row]) -> list[Step]:
        """Return a step for each row except unfinished ones. Looks up all rows in one call, and reads changed files."""
        steps: list[Step] = []
        changed: list[Embed] = []
        for step in self._with_before([self._embed(match) for match in self._identity.match(rows)]):
            reason = _why_unstorable(step.row)
            if reason:
                steps.append(step.outcome("", reason))
                self._list(step)
            elif not (self._checksum or self._reads_again) and same(step.before, step.entity, self._compared):
                steps.append(step.outcome("unchanged"))
                self._list(step)
            elif self._rest_seconds and 0 <= _seconds_since_change(step.row.path) < self._rest_seconds:
                self.unfinished.append(step)
                self._list(step)
            else:
                changed.append(step)
        self._add_contents(changed)
        return steps + self._plan_changed(changed)

    def _embed(self, match: Match) -> Embed:
        mtime_ns, size, device, exists = _stat(match.row.path)
        entity = self._merger.merge(match)
        entity |= {schema.MTIME_NS: mtime_ns, schema.SIZE: size, schema.DEVICE: device}
        stored = match.stored
        if self._modified and mtime_ns and (stored is None or stored[schema.MTIME_NS] != mtime_ns or self._reads_again):
            entity[self._modified] = local_time(mtime_ns)
        if stored is not None and stored[PATH] == match.row.path and device not in (-1, stored[schema.DEVICE]):
            self._gone.note_device(stored[schema.DEVICE], device)
        return Embed(match.row, entity, match.stored, match, exists)

    def _with_before(self, steps: list[Embed]) -> list[Embed]:
        """The steps, with `before` from the collection to fill if the rows were found in another one."""
        if self._known is self._collection:
            return steps
        stored = self._collection.get([step.row.id for step in steps], self._names)
        return [step._replace(before=stored.get(step.row.id)) for step in steps]

    def _list(self, step: Embed) -> None:
        """Note that the source lists this row."""
        if not step.exists:
            self.listing.missing.add(step.row.id)
            return
        self.listing.present.append(step.row.id)
        if is_remote(step.row.path):
            self.listing.remote.append(step.row.id)

    def _add_contents(self, changed: Sequence[Embed]) -> None:
        """Put the content's hash into each entity: the stored one if the file looks unchanged."""
        unread = []
        for step in changed:
            if step.before and not self._checksum and same(step.before, step.entity, _FILE_FIELDS):
                step.entity[schema.HASH] = step.before[schema.HASH]
            elif not is_remote(step.row.path):
                unread.append(step)
        contents = hash_files([step.row.path for step in unread], self._threads)
        for step, content in zip(unread, contents, strict=True):
            step.entity[schema.HASH] = content

    def _plan_changed(self, changed: Sequence[Embed]) -> list[Step]:
        contents = {step.content for step in changed if not step.keeps_image or step.has_other_path}
        alike = self._known_contents.find_rows(contents, self._names)
        steps: list[Step] = []
        others: list[Embed] = []
        for step in self._with_before([self._find_moved(step, alike.get(step.content, ())) for step in changed]):
            self._list(step)
            self.replaced.update(step.match.replaces)
            if self._checksum and not self._reads_again and step.content and self._is_stored(step):
                steps.append(step.outcome("unchanged"))
            elif step.before and step.keeps_image and not (self._checksum and is_remote(step.row.path)):
                # Excludes remote files under --checksum: only fetching them tells whether they changed.
                steps.append(Reuse(step, step.before[ID], self._reads_again))
            else:
                if step.has_other_image:
                    self._forget_metadata(step.entity)
                others.append(step)
        if self._contents is not self._known_contents:
            alike = self._contents.find_rows({step.content for step in others}, self._names)
        for step in others:
            holder = self._contents.find_holder(step.content, alike.get(step.content, ()))
            steps.append(step if holder is None else Reuse(step, holder, self._reads))
            if holder is None and step.content:
                self._contents.add(step.content, step.row.id)
        return steps

    def _is_stored(self, step: Embed) -> bool:
        return same(step.before, step.entity, [schema.HASH, *self._compared])

    def _forget_metadata(self, entity: dict[str, Any]) -> None:
        """Empty the columns that were read from another image."""
        entity.update((key, empty) for key, empty in self._from_file.items() if key != self._modified)

    def _find_moved(self, step: Embed, alike: Sequence[Mapping[str, Any]]) -> Embed:
        """The same step, or one for the stored row whose file has moved here."""
        if step.match.stored is not None and not step.has_other_path:
            return step
        match = self._identity.match_content(step.match, step.entity[schema.DEVICE], alike)
        if match == step.match:
            return step
        found = self._embed(match)
        found.entity[schema.HASH] = step.content
        return found


def _split_first(chunks: Iterator[list[Row]], count: int) -> Iterator[list[Row]]:
    """Yield the same chunks, with the first one split after `count` rows."""
    first = next(chunks, [])
    yield from filter(None, (first[:count], first[count:]))
    yield from chunks


def _stat(path: str) -> tuple[int, int, int, bool]:
    """Return modification time in ns, size in bytes and device, and whether the file exists or may exist.

    Unknown values are 0; an unknown device is -1.
    """
    if is_remote(path):
        return 0, 0, -1, True
    try:
        status = os.stat(path)
    except OSError as error:
        return 0, 0, -1, not isinstance(error, (FileNotFoundError, NotADirectoryError))
    except ValueError:  # a null character
        return 0, 0, -1, False
    return status.st_mtime_ns, status.st_size, status.st_dev & (2**63 - 1), True


def _seconds_since_change(path: str) -> float:
    """Return the seconds since a file's content, name or times last changed. Negative if clocks differ."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return math.inf
    return time.time() - (status.st_mtime if os.name == "nt" else status.st_ctime)  # on Windows ctime is the creation


def _why_unstorable(row: Row) -> str:
    """Return why Milvus cannot store this row, or ''."""
    for name, value in {PATH: row.path, **row.fields}.items():
        if not isinstance(value, str):
            continue
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            return "the file name is not valid UTF-8; rename the file"
        if length > schema.MAX_TEXT_BYTES:
            return f"column '{name}' is longer than {schema.MAX_TEXT_BYTES} bytes"
    return ""

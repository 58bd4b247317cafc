"""Planning: what has to be done about each row of a source, so that a second run repeats no work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..engine import Profile
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Row, Source
from .contents import Contents, hash_files
from .gone import GoneFiles
from .identity import Identity, Match
from .merge import Merger
from .prune import Listing
from .summary import Outcome

# Rows that are planned together: as many as one look-up in Milvus takes.
PLAN_ROWS = 1000
# When one of these changes, the file has to be read again.
_FILE_FIELDS = (PATH, schema.MTIME_NS, schema.SIZE, schema.MODEL)


class Embed(NamedTuple):
    """A row whose image is new or changed.

    entity: every field to be stored but the embedding. before: the stored row, None for a new one.
    match: how the row was found. exists: whether its file is there, or may be there.
    """

    row: Row
    entity: dict[str, Any]
    before: Mapping[str, Any] | None
    match: Match
    exists: bool

    @property
    def content(self) -> str:
        """Hash of the file's bytes, '' without a local file that can be read."""
        return str(self.entity[schema.HASH])

    @property
    def keeps_image(self) -> bool:
        """Whether the stored row has the same image, so that only other fields changed."""
        before = self.before
        if before is None or not _same(before, self.entity, (schema.MODEL, schema.HASH)):
            return False
        return bool(self.content) or before[PATH] == self.row.path

    @property
    def has_other_path(self) -> bool:
        """Whether the row was found, with another path."""
        return self.match.stored is not None and self.match.stored[PATH] != self.row.path

    @property
    def has_other_image(self) -> bool:
        """Whether the file can be read and is no longer the one whose embedding is stored."""
        is_empty = self.entity[schema.MTIME_NS] != 0 == self.entity[schema.SIZE]
        return self.before is not None and (is_empty or self.content not in ("", self.before[schema.HASH]))

    def outcome(self, done: str, reason: str = "") -> Outcome:
        """Return what became of the row."""
        return Outcome(self.match.listed, done, reason, () if reason else self._changed(), self.row.id)

    def _changed(self) -> tuple[str, ...]:
        """The columns, by key, that get another value in a row that was stored before."""
        if self.before is None:
            return ()
        return tuple(
            key for key, value in self.entity.items() if key not in schema.SYSTEM and self.before[key] != value
        )


class Reuse(NamedTuple):
    """A row whose embedding is known: that of the row `holder`, which has the same content.

    The holder is the row itself if only other fields changed. `embed` is to be done if the holder has no embedding.
    """

    embed: Embed
    holder: int

    @property
    def kind(self) -> str:
        """What is done by that, as the summary counts it."""
        before = self.embed.before
        if before is None or before[ID] != self.holder:
            return "deduplicated"
        return "moved" if self.embed.match.moved else "metadata_updated"


# A row that needs no work has its outcome at once.
Step = Outcome | Embed | Reuse


class Planner:
    """Compares the rows of one source with a collection, by path, modification time, size and fields.

    Args:
        source: name of the source, stored with each row; rows may bring another in their fields.
        known: the collection whose rows these are, if `collection` is to replace it.
        checksum: compare the content of the files instead of their time and size.
        threads: for hashing files, see `hash_files`.
        precision: of the embeddings that this run makes.
        fills: columns that the source only fills in where they are empty, as a folder does with labels.
    """

    def __init__(
        self, collection: Collection, model_id: str, source: str = "", checksum: bool = False,
        profile: Profile | None = None, threads: int = 0, precision: str = "", *,
        known: Collection | None = None, gone: GoneFiles | None = None, fills: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._collection, self._known, self._threads = collection, known or collection, threads
        self._contents = Contents(collection, model_id)
        self._known_contents = self._contents if self._known is collection else Contents(self._known, model_id)
        self._checksum = checksum
        self._profile = profile
        self._gone = gone = gone or GoneFiles(self._known)
        self._merger = Merger(collection.fields(), source, model_id, precision, gone, fills)
        self._compared = [*_FILE_FIELDS, schema.SOURCE, schema.KEY, *self._merger.columns]
        self._names = [schema.HASH, schema.DEVICE, *self._compared]
        self._identity = Identity(self._known, self._names, source, gone)
        self.listing = Listing()
        self.replaced: set[int] = set()  # ids of rows that got the id of a CSV

    def plans(self, source: Source, first: int) -> Iterator[list[Step]]:
        """Yield a plan for each chunk of the source. The first chunk has at most `first` rows.

        Planning reads the files, and the model waits for the first plan.
        """
        for rows in _split_first(source.chunks(PLAN_ROWS), first):
            start = time.perf_counter()
            steps = self.plan(rows)
            if self._profile is not None:
                self._profile.append(("compare with the collection", time.perf_counter() - start))
            yield steps

    def plan(self, rows: Sequence[Row]) -> list[Step]:
        """Return one step for each row. Looks up all rows in one call, and reads the files that may have changed."""
        steps: list[Step] = []
        changed: list[Embed] = []
        for step in self._with_before([self._embed(match) for match in self._identity.match(rows)]):
            reason = _why_unstorable(step.row)
            if reason:
                steps.append(step.outcome("", reason))
                self._list(step)
            elif not self._checksum and _same(step.before, step.entity, self._compared):
                steps.append(step.outcome("unchanged"))
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
        if stored is not None and stored[PATH] == match.row.path and device not in (-1, stored[schema.DEVICE]):
            self._gone.note_device(stored[schema.DEVICE], device)
        return Embed(match.row, entity, match.stored, match, exists)

    def _with_before(self, steps: list[Embed]) -> list[Embed]:
        """The steps compared with the rows of the collection to fill, if the rows were found in another one."""
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
        """Put the content's hash into each entity: the stored one if the file looks untouched."""
        unread = []
        for step in changed:
            if step.before and not self._checksum and _same(step.before, step.entity, _FILE_FIELDS):
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
            if self._checksum and step.content and _same(step.before, step.entity, [schema.HASH, *self._compared]):
                steps.append(step.outcome("unchanged"))
            elif step.before and step.keeps_image and not (self._checksum and is_remote(step.row.path)):
                steps.append(Reuse(step, step.before[ID]))  # of a remote file only fetching would tell
            else:
                others.append(step)
        if self._contents is not self._known_contents:
            alike = self._contents.find_rows({step.content for step in others}, self._names)
        for step in others:
            holder = self._contents.find_holder(step.content, alike.get(step.content, ()))
            steps.append(step if holder is None else Reuse(step, holder))
            if holder is None and step.content:
                self._contents.add(step.content, step.row.id)
        return steps

    def _find_moved(self, step: Embed, alike: Sequence[Mapping[str, Any]]) -> Embed:
        """The same step, or that for a stored row whose file has moved."""
        if step.match.stored is not None and not step.has_other_path:
            return step
        match = self._identity.match_content(step.match, step.entity[schema.DEVICE], alike)
        if match == step.match:
            return step
        found = self._embed(match)
        found.entity[schema.HASH] = step.content
        return found


def _same(before: Mapping[str, Any] | None, entity: Mapping[str, Any], names: Sequence[str]) -> bool:
    return before is not None and all(before.get(name) == entity[name] for name in names)


def _split_first(chunks: Iterator[list[Row]], count: int) -> Iterator[list[Row]]:
    """Yield the same rows, with the first chunk split after `count` rows."""
    first = next(chunks, [])
    yield from filter(None, (first[:count], first[count:]))
    yield from chunks


def _stat(path: str) -> tuple[int, int, int, bool]:
    """Return modification time in ns, size in bytes and device, and whether the file exists or may exist.

    What is unknown is 0, the device -1.
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

"""Planning: what has to be done about each row of a source, so that a second run repeats no work."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..engine import Profile
from ..fetch.read import is_remote
from ..fields import ID, PATH
from ..milvus import schema
from ..milvus.collection import Collection
from ..sources.source import Row, Source
from .contents import Contents, hash_files
from .summary import Outcome

# Rows that are planned together: as many as one look-up in Milvus takes.
PLAN_ROWS = 1000
# When one of these changes, the file has to be read again.
_FILE_FIELDS = (PATH, schema.MTIME_NS, schema.SIZE, schema.MODEL)


class Embed(NamedTuple):
    """A row whose image is new or changed.

    entity: every field to be stored but the embedding. before: the stored row, None for a new one.
    """

    row: Row
    entity: dict[str, Any]
    before: Mapping[str, Any] | None

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
    def has_other_image(self) -> bool:
        """Whether the file can be read and is no longer the one whose embedding is stored."""
        is_empty = self.entity[schema.MTIME_NS] != 0 == self.entity[schema.SIZE]
        return self.before is not None and (is_empty or self.content not in ("", self.before[schema.HASH]))


class Reuse(NamedTuple):
    """A row whose embedding is known: that of the row `holder`, which has the same content.

    The holder is the row itself if only other fields changed. `embed` is to be done if the holder has no embedding.
    """

    embed: Embed
    holder: int


# A row that needs no work has its outcome at once.
Step = Outcome | Embed | Reuse


class Planner:
    """Compares the rows of one source with a collection, by path, modification time, size and fields.

    Args:
        source: name of the source, stored with each row; rows may bring another in their fields.
        checksum: compare the content of the files instead of their time and size.
        threads: for hashing files, see `hash_files`.
        precision: of the embeddings that this run makes.
    """

    def __init__(
        self, collection: Collection, model_id: str, source: str = "", checksum: bool = False,
        profile: Profile | None = None, threads: int = 0, precision: str = "",
    ) -> None:  # fmt: skip
        self._collection, self._threads = collection, threads
        self._contents = Contents(collection, model_id)
        self._own = {schema.MODEL: model_id, schema.SOURCE: source, schema.HASH: "", schema.PRECISION: precision}
        self._checksum = checksum
        self._profile = profile
        self._defaults = {field.key: field.default for field in collection.fields()}
        self._compared = [*_FILE_FIELDS, schema.SOURCE, *self._defaults]
        self.present = array("q")  # ids of the rows that have a file, or may have one

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
        stored = self._collection.get([row.id for row in rows], [schema.HASH, *self._compared])
        steps: list[Step] = []
        changed: list[Embed] = []
        for row in rows:
            step = Embed(row, self._entity(row), stored.get(row.id))
            reason = _why_unstorable(row)
            if reason:
                steps.append(Outcome(row, reason=reason))
            elif not self._checksum and _same(step.before, step.entity, self._compared):
                steps.append(Outcome(row, "unchanged"))
            else:
                changed.append(step)
        self._add_contents(changed)
        return steps + self._plan_changed(changed)

    def _entity(self, row: Row) -> dict[str, Any]:
        mtime_ns, size, may_exist = _stat(row.path)
        if may_exist:
            self.present.append(row.id)
        own = {ID: row.id, PATH: row.path, **self._own, schema.MTIME_NS: mtime_ns, schema.SIZE: size}
        return {**own, **self._defaults, **row.fields}

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
        steps: list[Step] = []
        others: list[Embed] = []
        for step in changed:
            if self._checksum and step.content and _same(step.before, step.entity, [schema.HASH, *self._compared]):
                steps.append(Outcome(step.row, "unchanged"))
            elif step.keeps_image and not (self._checksum and is_remote(step.row.path)):  # only fetching would tell
                steps.append(Reuse(step, step.row.id))
            else:
                others.append(step)
        holders = self._contents.find_holders({step.content for step in others})
        for step in others:
            holder = holders.get(step.content)
            steps.append(step if holder is None else Reuse(step, holder))
            if holder is None and step.content:
                holders[step.content] = step.row.id
                self._contents.add(step.content, step.row.id)
        return steps


def _same(before: Mapping[str, Any] | None, entity: Mapping[str, Any], names: Sequence[str]) -> bool:
    return before is not None and all(before.get(name) == entity[name] for name in names)


def _split_first(chunks: Iterator[list[Row]], count: int) -> Iterator[list[Row]]:
    """Yield the same rows, with the first chunk split after `count` rows."""
    first = next(chunks, [])
    yield from filter(None, (first[:count], first[count:]))
    yield from chunks


def _stat(path: str) -> tuple[int, int, bool]:
    """Return modification time in ns and size in bytes, zeros if unknown, and whether the file exists or may exist."""
    if is_remote(path):
        return 0, 0, True
    try:
        status = os.stat(path)
    except OSError as error:
        return 0, 0, not isinstance(error, (FileNotFoundError, NotADirectoryError))
    except ValueError:  # a null character
        return 0, 0, False
    return status.st_mtime_ns, status.st_size, True


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

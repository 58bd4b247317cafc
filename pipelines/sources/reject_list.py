"""Lists of rejected images, `id,path,reason,source`: recognises them, and reads one as a source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain, compress, islice
from typing import NamedTuple

from ..errors import InputError
from ..fields import ID, KEY, PATH, SOURCE, Field, FieldType, read_id, row_id
from .csv_text import records, sniff
from .source import WHOLE, Findings, Row, Shard, Source, absolute_in, in_chunks

HEADER = (ID, PATH, "reason", "source")
_OLD_HEADER = HEADER[:3]  # before 0.2
_READ_ROWS = 1000


class Rejected(NamedTuple):
    """One row of a list, as text. `source` is the real path or URL of the image's source, '' if unknown."""

    id: str
    path: str
    reason: str
    source: str = ""


def read_rejects(path: os.PathLike[str]) -> list[Rejected] | None:
    """The rows of a list that this program wrote; None for any other file."""
    try:
        layout = sniff(path)
        columns = tuple(layout.columns)
        if columns not in (HEADER, _OLD_HEADER):
            return None
        cells = [row for line, row in records(path, layout.encoding, layout.separator) if line > layout.row]
    except (InputError, UnicodeError):
        return None
    rows = [Rejected(*(row + [""] * len(HEADER))[: len(HEADER)]) for row in cells]
    is_whole = all(row.reason for row in rows[:-1])  # a killed run may have cut off the last row
    if not is_whole or any(len(row) > len(columns) for row in cells):
        return None
    return [row for row in rows if row.reason]


class RejectSource:
    """The images of a list. Each row comes from the source that the list names, or from the list if that lacks it.

    Args:
        open_recorded: opens a source by its name.

    Raises:
        InputError: the list is empty.
    """

    is_folder = False

    def __init__(
        self, path: os.PathLike[str], rows: list[Rejected], open_recorded: Callable[[str], Source],
        limit: int = 0, shard: Shard = WHOLE,
    ) -> None:  # fmt: skip
        if not rows:
            raise InputError(f"{path} has a header but no rows")
        self._absolute = absolute_in(os.path.dirname(os.path.abspath(path)))
        self._limit, self._shard = limit or len(rows), shard
        self._listed: dict[str, dict[str, Rejected]] = {}
        for row in rows:
            self._listed.setdefault(row.source, {})[row.id] = row
        self._sources = {name: _open(name, open_recorded) for name in self._listed}
        opened = [source for source in self._sources.values() if source]
        self.fields = _all_fields(opened)
        self.fills = tuple({name for source in opened for name in source.fills})
        self.total = int(shard.takes([row_id(row.id) for row in rows[: self._limit]]).sum())
        names = ", ".join(name or "an unknown source" for name in self._listed)
        self.findings = Findings([f"{path} lists rejected images: they are tried again for {names}"])

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of this shard, `size` at a time."""
        rows = in_chunks(islice(self._rows(), self._limit), _READ_ROWS)
        kept = (compress(part, self._shard.takes([row.id for row in part])) for part in rows)
        return in_chunks(chain.from_iterable(kept), size)

    def _rows(self) -> Iterator[Row]:
        for name, listed in self._listed.items():
            left = dict(listed)
            for row in self._rows_of(self._sources[name]):
                if entry := left.pop(row.shown_id, None):
                    # The user may have corrected the path in the list.
                    path = entry.path if os.path.exists(entry.path) else row.path
                    yield row._replace(path=path, fields={**row.fields, SOURCE: name})
            for entry in left.values():
                shown = read_id(entry.id)
                key = {KEY: shown} if isinstance(shown, str) else {}
                yield Row(row_id(shown), self._absolute(entry.path), 0, {SOURCE: name, **key})

    def _rows_of(self, source: Source | None) -> Iterator[Row]:
        if source is not None:
            own = {field.name for field in source.fields}
            source.fields = tuple(field for field in self.fields if field.name in own)
            yield from chain.from_iterable(source.chunks(_READ_ROWS))


def _all_fields(sources: list[Source]) -> tuple[Field, ...]:
    """The columns of several sources. A column that has different types in them becomes text."""
    fields: dict[str, Field] = {}
    for field in (field for source in sources for field in source.fields):
        other = fields.setdefault(field.name, field)
        if other.type is not field.type:
            fields[field.name] = Field(field.name, FieldType.TEXT)
    return tuple(fields.values())


def _open(name: str, open_recorded: Callable[[str], Source]) -> Source | None:
    """The recorded source; None if it no longer exists or cannot be read."""
    try:
        return open_recorded(name) if name else None
    except InputError:
        return None

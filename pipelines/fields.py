"""A CSV column as a typed field: the names and types that columns, filters and Milvus have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .errors import InputError

ID = "id"
PATH = "path"
EMBEDDING = "embedding"
SOURCE = "_source"  # names of what lists the row


class FieldType(str, Enum):
    """Types a CSV column can have. The values are what `info` shows."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"


@dataclass(frozen=True)
class Field:
    """One CSV column as a field of the collection. `has_gaps` is True where some cell is empty."""

    name: str
    type: FieldType
    has_gaps: bool = False

    @property
    def default(self) -> Any:
        """What an empty cell is stored as: '' for text, NULL otherwise."""
        return "" if self.type is FieldType.TEXT else None


def field_name(column: str) -> str:
    """The field for a CSV column: letters, digits and underscores, not starting with a digit.

    Raises:
        InputError: no character is left, or the name is reserved.
    """
    name = re.sub(r"\W+", "_", column.strip(), flags=re.ASCII).strip("_")
    if not name or name in (EMBEDDING, ID, PATH):
        raise InputError(f"a column cannot be named '{column}'; rename it in the CSV")
    return f"c_{name}" if name[0].isdigit() else name

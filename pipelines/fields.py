"""A CSV column as a typed field: the types that columns, filters and Milvus have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


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

"""A column as a typed field: its own name in any script, its type, and the field of Milvus that holds it.

Milvus Lite keeps no descriptions, so a field's name says all that its type in Milvus does not: see `field_key`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from .errors import InputError

ID = "id"
PATH = "path"
# Names that count as the path where nothing is named exactly so.
PATH_COLUMNS = ("Path", "filepath", "file_path", "filename", "file", "image", "image_path", "img", "url", "photo")
EMBEDDING = "embedding"
LABEL = "label"
SOURCE = "_source"  # names of what lists the row
KEY = "_key"  # the id as the CSV gives it where that is a text, '' otherwise

MAX_KEY = 255  # characters of a field's name, Milvus's limit

# Names that this program or the expression language of Milvus reads as something else.
_RESERVED = re.compile(
    r"id|path|embedding|and|or|not|in|like|is|null|true|false|exists|text_match|phrase_match|(json|array)_(contains|length).*",
    re.IGNORECASE,
)
_READABLE = re.compile(r"(?!x[bdf]*__)[A-Za-z][A-Za-z0-9_]*")
_ENCODED = re.compile(r"x([bdf]*)__(.*)")
_CODE = re.compile(r"_([0-9a-f]*)_")
_WHOLE = re.compile(r"\s*(0|-?[1-9][0-9]{0,18})\s*")  # a leading zero marks a code
_EPOCH = datetime(1970, 1, 1)


class FieldType(str, Enum):
    """Types a column can have. The values are what `info` shows."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DATE = "date"
    TEXT = "text"


@dataclass(frozen=True)
class Field:
    """One column.

    name: as the source writes it.
    has_gaps: of a source, whether some cell is empty; of a collection, whether a cell can be.
    key: the field of Milvus that holds the column; '' derives it from the name.
    from_file: whether the values come from the image files and not from a CSV.
    nullable: whether Milvus keeps an empty cell as NULL, and not as the sentinel of its type.
    """

    name: str
    type: FieldType
    has_gaps: bool = False
    key: str = ""
    from_file: bool = False
    nullable: bool = True

    def __post_init__(self) -> None:
        """Derive the key."""
        if not self.key:
            object.__setattr__(self, "key", field_key(self.name, self.type, self.from_file))

    @property
    def default(self) -> Any:
        """An empty cell: '' for text, None otherwise."""
        return "" if self.type is FieldType.TEXT else None


def clean_name(text: str) -> str:
    """Return a column's name without blanks around it, composed: macOS writes `ö` as two characters."""
    return unicodedata.normalize("NFC", text.strip())


def field_key(name: str, type: FieldType, from_file: bool = False, as_int8: bool = False) -> str:
    """Return the field of Milvus for a column.

    A readable ASCII name stays as it is: `label`. Any other, and any column that needs a flag, becomes `x`, its flags,
    `__` and the encoded name: `xd__taken`, `x__Gr_f6__df_e`. Flags: `b` a bool kept as INT8, `d` a date, `f` read from
    the files. Encoded: `_` is doubled, any other character that is no ASCII letter or digit is its code point, `_f6_`.

    Raises:
        InputError: the name is too long for Milvus.
    """
    flags = "b" * as_int8 + "d" * (type is FieldType.DATE) + "f" * from_file
    if not flags and _READABLE.fullmatch(name) and not _RESERVED.fullmatch(name) and len(name) <= MAX_KEY:
        return name
    encoded = re.sub(r"[^A-Za-z0-9]", lambda match: "__" if match[0] == "_" else f"_{ord(match[0]):x}_", name)
    key = f"x{flags}__{encoded}"
    if len(key) > MAX_KEY:
        raise InputError(f"the column name '{name[:30]}…' is too long for Milvus; shorten it")
    return key


def read_key(key: str) -> tuple[str, str]:
    """Return the column's own name and the flags of a field of Milvus: the inverse of `field_key`."""
    match = _ENCODED.fullmatch(key)
    if match is None:
        return key, ""
    return _CODE.sub(lambda code: chr(int(code[1], 16)) if code[1] else "_", match[2]), match[1]


def read_id(text: str) -> int | str:
    """Return an id as it is written: a whole number of 64 bits, or any other text."""
    number = int(text) if _WHOLE.fullmatch(text) else 2**63
    return number if -(2**63) <= number < 2**63 else text.strip()


def row_id(shown: int | str) -> int:
    """Return the id under which a row is stored, from the one that is shown: a number, or a text of a CSV."""
    known = read_id(shown) if isinstance(shown, str) else shown
    return known if isinstance(known, int) else hash_id(f"key:{known}".encode(errors="surrogatepass"))


def hash_id(text: bytes) -> int:
    """Return a stable id of 63 bits for a text."""
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def format_date(milliseconds: int) -> str:
    """Write a date, in milliseconds since 1970, as ISO text: `2020-05-01`, or with the time if it is not midnight."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    if not milliseconds % 86_400_000:
        return moment.date().isoformat()
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds")


def show_value(field: Field, value: Any) -> Any:
    """Return a stored value as people and other programs see it: a date as ISO text."""
    return format_date(value) if field.type is FieldType.DATE and value is not None else value

"""A column as a typed field: its own name in any script, its type, and the field of Milvus that holds it.

Milvus Lite stores no descriptions, so a field's name encodes what its type in Milvus does not tell: see `field_key`.
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
# Names of the column with the paths, if none is named `path`.
PATH_COLUMNS = ("Path", "filepath", "file_path", "filename", "file", "image", "image_path", "img", "url", "photo")
EMBEDDING = "embedding"
LABEL = "label"
SOURCE = "_source"  # names of the CSVs and folders that list the row
KEY = "_key"  # the id in the CSV if that is a text, '' otherwise

MAX_KEY = 255  # Milvus's limit on the characters of a field's name

# Names that have another meaning in this program or in the expression language of Milvus.
_RESERVED = re.compile(
    r"id|path|embedding|and|or|not|in|like|is|null|true|false|exists|text_match|phrase_match|(json|array)_(contains|length).*",
    re.IGNORECASE,
)
_READABLE = re.compile(r"(?!x[bdf]*__)[A-Za-z][A-Za-z0-9_]*")
_ENCODED = re.compile(r"x([bdf]*)__(.*)")
_CODE = re.compile(r"_([0-9a-f]*)_")
_WHOLE = re.compile(r"\s*(0|-?[1-9][0-9]{0,18})\s*")  # with a leading zero it is a code, not a number
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
    has_gaps: in a source, whether some cell is empty; in a collection, whether a cell can be empty.
    key: the field of Milvus that holds the column; '' derives it from the name.
    from_file: whether the values come from the image files and not from a CSV.
    nullable: whether Milvus stores an empty cell as NULL, and not as the sentinel of its type.
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
        """The value of an empty cell: '' for text, None otherwise."""
        return "" if self.type is FieldType.TEXT else None


def clean_name(text: str) -> str:
    """Return a column's name without surrounding blanks, in composed form: macOS writes `ö` as two characters."""
    return unicodedata.normalize("NFC", text.strip())


def field_key(name: str, type: FieldType, from_file: bool = False, as_int8: bool = False) -> str:
    """Return the field of Milvus for a column.

    A readable ASCII name stays as it is: `label`. Any other name, and any column that needs a flag, becomes `x`, its
    flags, `__` and the encoded name: `xd__taken`, `x__Gr_f6__df_e`. Flags: `b` a bool stored as INT8, `d` a date, `f`
    read from the files. Encoding: `_` is doubled; any other character except ASCII letters and digits becomes its code
    point, `_f6_`.

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
    """Return the id that a text stands for: a whole number of 64 bits, or else the text itself."""
    number = int(text) if _WHOLE.fullmatch(text) else 2**63
    return number if -(2**63) <= number < 2**63 else text.strip()


def row_id(shown: int | str) -> int:
    """Return the id under which a row is stored, given the id that users see: a number, or a text of a CSV."""
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
    """Return a stored value as users and other programs see it: a date as ISO text."""
    return format_date(value) if field.type is FieldType.DATE and value is not None else value

"""Values as literals of Milvus's expressions, safe on Milvus Lite and on servers."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ..dates import read_moment
from ..errors import BadFilter
from ..fields import ID, Field, FieldType, row_id
from ..query.filters import Value, format_value

KINDS = {
    FieldType.TEXT: "text", FieldType.INT: "whole numbers", FieldType.FLOAT: "numbers", FieldType.BOOL: "true or false",
    FieldType.DATE: "dates as 2019-05-01",
}  # fmt: skip
SMALLEST = -(2**63)


def text_literal(text: str) -> str:
    """Quote a text, safely on Milvus Lite and on servers. (Milvus's `filter_params` work on neither.)

    Raises:
        BadFilter: the text is not valid UTF-8: no collection holds it, and pymilvus fails on it.
    """
    check_utf8(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def list_literal(texts: Iterable[str]) -> str:
    """Quote several texts, as a list for `in`."""
    return "[" + ", ".join(map(text_literal, texts)) + "]"


def value_literal(field: Field, value: Value) -> str:
    if field.type is FieldType.TEXT and isinstance(value, str):
        return text_literal(value)
    if field.key == ID and isinstance(value, str):
        return str(row_id(value))
    if field.type is FieldType.BOOL and isinstance(value, bool):
        is_int8 = field.has_gaps and not field.nullable
        return str(int(value)) if is_int8 else "true" if value else "false"
    if field.type is FieldType.DATE and not isinstance(value, bool):
        moment = read_moment(str(value))
        if moment is not None:
            return str(moment)
    elif not isinstance(value, (bool, str)) and abs(value) <= sys.float_info.max:  # False for infinity and NaN
        if field.type is FieldType.FLOAT:
            return repr(float(value))
        if field.type is FieldType.INT and value == int(value):
            if not -(2**63) <= value < 2**63:
                raise BadFilter(f"{value:g} has more than 64 bits")
            return str(int(value))
    raise BadFilter(f"column '{field.name}' holds {KINDS[field.type]}, not {format_value(value)}")


def check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadFilter("a text of the filter is not valid UTF-8") from None


def ids_on_server(key: str, ids: Iterable[int]) -> str:
    """Return the expression for rows with these ids."""
    return f"{key} in [{', '.join(for_server(str(number)) for number in ids)}]"


def for_server(literal: str) -> str:
    """Write the smallest number as a difference: a server reads digits before their sign, and these are too large."""
    return f"({1 + SMALLEST} - 1)" if literal == str(SMALLEST) else literal

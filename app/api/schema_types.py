"""Types that the requests and responses of the API share, and how their values are parsed."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from pipelines.fields import read_id
from pipelines.query.query import LARGEST_WEIGHT

ColumnType = Literal["int", "float", "bool", "date", "text"]


def _as_id(value: object) -> object:
    """Accept a 64-bit integer or a string, but none of the other values that pydantic would convert (`true`, `1.0`)."""
    if isinstance(value, str):
        return read_id(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError("not a whole number of 64 bits and no text")
    return value


# JavaScript's numbers have 53 bits. So an id is also accepted as a string, and hits also contain it as a string.
ImageId = Annotated[
    int | str,
    BeforeValidator(_as_id),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
                {"type": "string", "description": "The digits of the number, or the text that a CSV gives as the id."},
            ]
        }
    ),
]


def _as_bytes(value: object) -> object:
    """Decode base64 of either alphabet (RFC 4648), with or without padding, alone or in a `data:` URL (RFC 2397)."""
    if not isinstance(value, str):
        raise ValueError("not a text in base64")
    if value[:5].lower() == "data:":
        head, comma, value = value.partition(",")
        if not (comma and head.lower().endswith(";base64")):
            raise ValueError("not a data URL in base64")
    digits = "".join(value.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)  # raises a subclass of ValueError


Base64 = Annotated[
    bytes,
    BeforeValidator(_as_bytes),
    WithJsonSchema({"type": "string", "description": "Base64; may be URL-safe or a `data:` URL."}),
]

Text = Annotated[str, Field(max_length=4_000)]

Weight = Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, description="Negative steers away; not 0.")]

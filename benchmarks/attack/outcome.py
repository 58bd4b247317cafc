"""What came of one kind of attack."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """`tries` attacks of one kind; `held` if not one of them reached its end."""

    kind: str
    tries: int
    held: bool
    note: str = ""

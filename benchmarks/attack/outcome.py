"""The result of one kind of attack."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """`tries` attacks of one kind; `held` is true if none of them succeeded."""

    kind: str
    tries: int
    held: bool
    note: str = ""

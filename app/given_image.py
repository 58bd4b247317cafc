"""An image that the reader provides as a query, and its form in the URL of the page."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from pipelines.fetch.read import is_web

_NAME = re.compile(r"([0-9a-f]{32}|(?i:https?)://\S+?)(?:~(-?\d{1,3}(?:\.\d{1,3})?))?")


class GivenImage(NamedTuple):
    """An image of a query that is not in the collection.

    name: the key under which `QueryImages` keeps an upload, or a web address, which can be fetched again.
    """

    name: str
    weight: float = 1.0

    @classmethod
    def read(cls, text: str) -> GivenImage | None:
        """Parse the output of `str`; return None for anything else."""
        match = _NAME.fullmatch(text)
        return cls(match[1], float(match[2] or 1)) if match else None

    @property
    def is_web(self) -> bool:
        """Whether it is at a web address."""
        return is_web(self.name)

    @property
    def key(self) -> str:
        """The key under which `QueryImages` keeps it."""
        return hashlib.blake2b(self.name.encode(), digest_size=16).hexdigest() if self.is_web else self.name

    def __str__(self) -> str:
        return self.name if self.read(self.name) == self else f"{self.name}~{self.weight:g}"


def split_addresses(line: str) -> tuple[str, list[str]]:
    """Return a query line without its web addresses, and the addresses, each of which stands for an image."""
    words = line.split()
    addresses = [word for word in words if is_web(word)]
    return " ".join(word for word in words if not is_web(word)) if addresses else line, addresses

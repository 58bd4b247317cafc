"""One machine's part of a source: `--shard 3/16`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError

MAX_SHARDS = 100_000


class Shard(NamedTuple):
    """The `number`th of `of` parts, counted from 1. A row's id alone decides: not its place, not the other rows."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/16`; '' is the whole.

        Raises:
            InputError: anything else.
        """
        if not text:
            return cls()
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.of <= MAX_SHARDS:
            raise InputError(f"--shard is a number and a count, as 3/16 (the first is 1/16), not '{text}'")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """int64[n] ids → bool[n], which of them belong to this part."""
        bits = np.asarray(ids, np.int64).view(np.uint64)
        if self.of == 1:
            return np.ones(len(bits), bool)
        # Given ids may all be even: mixed by SplitMix64 (Steele, Lea and Flood 2014, as in Java's SplittableRandom).
        mixed = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        return np.asarray(mixed % np.uint64(self.of) == np.uint64(self.number - 1))


WHOLE = Shard()

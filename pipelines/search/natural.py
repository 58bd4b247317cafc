"""Natural sort order: ignores case and compares the numbers inside texts by value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_ZERO, _NINE = ord("0"), ord("9")
_LONGEST = 0x7F - _ZERO


def natural_ranks(texts: pa.Array) -> np.ndarray:
    """Rank texts: `img_9` before `IMG_10`. Texts that differ only in case or leading zeros share a rank."""
    import pyarrow.compute as pc

    return np.asarray(pc.rank(_with_lengths(pc.utf8_lower(texts)), tiebreaker="dense")).astype(np.int32)


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts in the same order. For a few texts, without Arrow."""
    parts = re.split("([0-9]+)", text.lower())
    return [(len(part.lstrip("0")), part.lstrip("0")) if index % 2 else (0, part) for index, part in enumerate(parts)]


def _with_lengths(texts: pa.Array) -> pa.Array:
    """Strip the leading zeros of each number and put its length before it, so that bytes sort like the numbers."""
    import pyarrow as pa

    texts = pa.concat_arrays([texts.cast(pa.large_binary())])  # a copy whose offset is 0
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[: len(texts) + 1]
    bytes_ = np.frombuffer(data, np.uint8)[: ends[-1]] if data is not None else np.zeros(0, np.uint8)
    digit = (bytes_ >= _ZERO) & (bytes_ <= _NINE)
    if not digit.any():
        return texts
    size = np.int32 if len(bytes_) < 2**31 else np.int64  # half the memory, twice as fast
    first = digit.copy()  # first digits of numbers; a number ends with its text
    first[1:] &= ~digit[:-1]
    starts = ends[:-1][ends[:-1] < len(bytes_)]
    first[starts] |= digit[starts]
    number = np.cumsum(first, dtype=size) - 1
    last = np.append(first[1:] | ~digit[1:], True) & digit
    counts = digit & (bytes_ != _ZERO)
    seen = np.cumsum(counts, dtype=size)
    before = (seen - counts)[first]  # nonzero digits before each number
    kept = ~digit | last | (seen > before[number])
    lengths = np.bincount(number[kept & digit], minlength=len(before))
    at = np.flatnonzero(first)
    moved = _sums(kept, size)
    longer = np.insert(bytes_[kept], moved[at], (_ZERO + np.minimum(lengths, _LONGEST)).astype(np.uint8))
    numbers = _sums(first, size)
    bounds = (moved[ends] + numbers[ends]).astype(np.int64)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(texts), [None, pa.py_buffer(bounds), pa.py_buffer(longer)]
    )


def _sums(flags: np.ndarray, size: type) -> np.ndarray:
    """The number of flags set before each index, and the total."""
    sums: np.ndarray = np.zeros(len(flags) + 1, size)
    np.cumsum(flags, out=sums[1:])
    return sums

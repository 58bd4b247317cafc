"""CLIP's byte-pair tokenizer, with the vocabulary that comes with Towhee.

Towhee's own class takes 80 ms to build its tables, and 100 ms more to import the package that repairs texts, which
plain English does not need. This one takes 15 ms.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import logging
import math
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

MERGES = 49152 - 256 - 2
_READ_BYTES = 1 << 20  # of the file's three million; these hold the merges that CLIP uses
START, END = "<|startoftext|>", "<|endoftext|>"

log = logging.getLogger(__name__)
_lock = threading.Lock()


def tokenize(texts: Sequence[str], context_length: int = 77) -> np.ndarray:
    """Tokenize n texts → int64[n, context_length]: start of text, tokens, end of text, zeros.

    A text that is too long is truncated with the end-of-text token kept at the end, as CLIP's reference does with
    `truncate=True`. The first time this happens, a warning is logged.
    """
    tokenizer = load_tokenizer()
    encoded = [tokenizer.encode(_encodable(text)) for text in texts]
    start, end = tokenizer.encoder[START], tokenizer.encoder[END]
    tokens = np.zeros((len(texts), context_length), np.int64)
    if any(len(ids) > context_length - 2 for ids in encoded):
        _warn_of_cut(context_length)
    for row, ids in zip(tokens, encoded, strict=True):
        ids = [start, *ids[: context_length - 2], end]
        row[: len(ids)] = ids
    return tokens


def load_tokenizer() -> Tokenizer:
    """Return the tokenizer, which is built once."""
    with _lock:
        return _build()


class Tokenizer:
    """Splits texts into words, and words into byte pairs: `SimpleTokenizer` of CLIP. Threads can share it.

    encoder: token → its id.
    """

    def __init__(self, vocabulary: Path) -> None:
        with gzip.open(vocabulary) as file:
            merges = file.read(_READ_BYTES).decode(errors="ignore").split("\n")[1 : MERGES + 1]
        self._letters = _letters_of_bytes()
        letters = [*self._letters.values()]
        # Joining all merges and splitting again takes a tenth of the time of a loop over them.
        joined = "\n".join(merges).replace(" ", "").split("\n")
        tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, START, END]
        self.encoder = dict(zip(tokens, range(len(tokens)), strict=True))
        self._ranks = dict(zip(merges, range(len(merges)), strict=True))
        self._numbers = lru_cache(maxsize=1 << 16)(self._encode_word)
        self._words = _compile_words()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without those of its start and end."""
        cleaned = " ".join(_clean(text).split()).lower()
        return [number for word in self._words.findall(cleaned) for number in self._numbers(word)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word in (START, END):
            return (self.encoder[word],)
        letters = [self._letters[byte] for byte in word.encode()]
        parts = [*letters[:-1], f"{letters[-1]}</w>"]
        while len(parts) > 1:
            pairs = list(map(" ".join, pairwise(parts)))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, math.inf))
            if best not in self._ranks:
                break
            parts = _merged(parts, pairs, best)
        return tuple(self.encoder[part] for part in parts)


def _merged(parts: list[str], pairs: list[str], best: str) -> list[str]:
    """Join every occurrence of the best pair, from left to right."""
    merged, place = [], 0
    while place < len(parts):
        joins = place < len(pairs) and pairs[place] == best
        merged.append(parts[place] + parts[place + 1] if joins else parts[place])
        place += 1 + joins
    return merged


def _clean(text: str) -> str:
    """Repair mojibake and unescape HTML. Printable ASCII without an ampersand needs neither."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _letters_of_bytes() -> dict[int, str]:
    """Map each byte to a printable letter: first the bytes that have their own, then the others to U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _compile_words() -> Any:
    import regex

    return regex.compile(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE
    )


@cache
def _build() -> Tokenizer:
    package = importlib.util.find_spec("towhee")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Tokenizer(Path(package.submodule_search_locations[0], "models", "clip", "bpe_simple_vocab_16e6.txt.gz"))


@cache  # so that it warns once
def _warn_of_cut(context_length: int) -> None:
    log.warning("a text is longer than the model reads (%d tokens): the rest is ignored", context_length - 2)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which have no tokens, with '?'. Terminals pass bytes that are not UTF-8 as such."""
    return text.encode(errors="replace").decode()

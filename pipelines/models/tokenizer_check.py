"""Reject a `tokenizer.json` that would exhaust the memory or never end, before the package `tokenizers` loads it.

That package trusts its files. Forty normalizers that double each letter allocate 2⁴⁰ bytes, a regular expression may
backtrack for minutes, and a damaged table of characters crashes the process.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# The largest known file is Gemma's, which SigLIP 2 uses: 34 MB, with 6,415 added tokens.
MOST_BYTES = 40 * 2**20
_MOST_ADDED, _MOST_ADDED_LETTERS = 10_000, 2**18
# `tokenizers` keeps a Unigram vocabulary in a tree of about 200 bytes per letter. XLM-R's has 2.5 million letters.
_MOST_UNIGRAM_LETTERS = 2**22
_MOST_PARTS = 500  # normalizers, pre-tokenizers and post-processors, with everything inside them
# Largest factor by which all normalizers together may lengthen a text. Unicode's own: 18 (NFKD of U+FDFA).
_MOST_GROWTH, _OF_UNICODE = 2_000, 18
_LONGEST_WORD = 1_000  # letters; WordPiece's time grows with the square
_LONGEST_PATTERN, _MOST_REPEATED = 500, 2
_ESCAPES = re.compile(r"\\[pP]\{\^?\w+\}|\\x\{?[0-9a-fA-F]+\}?|\\[^1-9gk]")
_CLASS = re.compile(r"\[\^?\]?[^\[\]]*\]")
_REPEATED = re.compile(r"[*+]|\{\d*,\}")


def read_checked(file: Path) -> str:
    """Return the text of a `tokenizer.json` after checking that it is safe to load and use.

    Raises:
        OSError: it cannot be read.
        ValueError, TypeError, KeyError, RecursionError, AttributeError: it is invalid, or would cost too much.
    """
    values = json.loads(text := read_text(file), object_pairs_hook=_unique)
    parts = [values.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor")]
    if sum(1 for part in parts for _ in _walk(part)) > _MOST_PARTS:
        raise ValueError(f"its normalizers and the like have more than {_MOST_PARTS} parts")
    for found in (found for part in parts for found in _walk(part) if isinstance(found, dict)):
        if "Regex" in found:
            _check_pattern(found["Regex"])
    if (growth := _growth(parts[0])) > _MOST_GROWTH:
        raise ValueError(f"its normalizers make a text up to {growth:,} times as long")
    added = [len(token["content"]) for token in values.get("added_tokens") or ()]
    if len(added) > _MOST_ADDED or sum(added) > _MOST_ADDED_LETTERS:
        raise ValueError(f"it has {len(added):,} added tokens of {sum(added):,} letters")
    _check_model(values["model"])
    return text


def read_text(file: Path) -> str:
    """Return the content of a text file of at most `MOST_BYTES`.

    Raises:
        OSError, ValueError: it cannot be read, or is larger.
    """
    with open(file, "rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MB")
    return data.decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject duplicate names: `tokenizers` might use the value that was not checked."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name has two values")
    return values


def _walk(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(inner)


def _growth(normalizer: Any) -> int:
    """Return the largest number of letters that a normalizer may make of one."""
    growth = 1
    for part in _walk(normalizer):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "Replace":  # an expression may match the empty string between any two letters
            growth *= max(1, len(part["content"]) + ("Regex" in part["pattern"]))
        elif kind == "Prepend":
            growth *= 1 + len(part["prepend"])
        elif kind in ("NFD", "NFKD", "NFC", "NFKC", "Nmt", "BertNormalizer", "ByteLevel"):
            growth *= _OF_UNICODE if kind in ("NFKD", "NFKC") else 4
        elif kind == "Precompiled":
            growth *= _longest_replacement(base64.b64decode(part["precompiled_charsmap"], validate=True))
    return growth


def _longest_replacement(charsmap: bytes) -> int:
    """Check the table of SentencePiece's normalizer; return the length of its longest replacement in bytes.

    Its format: the size of a tree, the tree (darts-clone's double array of uint32), zero-terminated texts.
    """
    size = int.from_bytes(charsmap[:4], "little")
    texts = charsmap[4 + size :]
    if not size or size % 4 or 4 + size > len(charsmap):
        raise ValueError("its table of characters is damaged")
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    is_value = units >> 31 == 1
    # A node's children are at the 256 positions that differ from its entry in `leads` only in the last eight bits.
    leads = np.arange(len(units)) ^ ((units >> 10) << ((units & 512) >> 6))
    starts = units[is_value] & 0x7FFFFFFF
    if (leads[~is_value] | 255).max(initial=0) >= len(units) or starts.max(initial=0) >= max(1, len(texts)):
        raise ValueError("its table of characters is damaged")
    texts.decode()
    if ((np.frombuffer(texts, np.uint8)[starts] & 0xC0) == 0x80).any():
        raise ValueError("its table of characters begins within one")
    return max(1, *map(len, texts.split(b"\0")))


def _check_pattern(pattern: str) -> None:
    """Reject an expression that may backtrack for long: nested or adjacent repetitions, or back-references.

    The expressions in use match words, digits and spaces: `\\p{L}+| ?\\p{N}+|\\s+(?!\\S)`.
    """
    plain = _CLASS.sub("x", _ESCAPES.sub("x", pattern))
    repeated = max(len(_REPEATED.findall(choice)) for choice in plain.split("|"))
    counts = [int(number) for number in re.findall(r"\d+", "".join(re.findall(r"\{[\d,]*\}", plain)))]
    if (
        len(pattern) > _LONGEST_PATTERN or repeated > _MOST_REPEATED or max(counts, default=0) > 100 or "\\" in plain
        or "[" in plain or re.search(r"\)[*+{]", plain) or plain.count("(") > 20
    ):  # fmt: skip
        raise ValueError(f"an expression of it may take for ever: {pattern[:80]}")


def _check_model(model: dict[str, Any]) -> None:
    vocabulary, longest = model["vocab"], model.get("max_input_chars_per_word", 0)
    if isinstance(vocabulary, list) and sum(len(piece) for piece, _ in vocabulary) > _MOST_UNIGRAM_LETTERS:
        raise ValueError(f"its pieces have more than {_MOST_UNIGRAM_LETTERS:,} letters together")
    if longest > _LONGEST_WORD or len(model.get("continuing_subword_prefix") or "") > 100:
        raise ValueError(f"a word of it may have {longest:,} letters")

"""CLIP's byte-pair tokenizer, built once. Towhee's own `tokenize` builds it for every query, which takes 67 ms."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..towhee_compat import load_tokenizer_class

log = logging.getLogger(__name__)
_lock = threading.Lock()


@cache
def _tokenizer() -> Any:
    return load_tokenizer_class()()


def tokenize(texts: Sequence[str], context_length: int = 77) -> np.ndarray:
    """Tokenize n texts → int64[n, context_length]: start of text, tokens, end of text, zeros.

    A text that is too long is truncated with the end-of-text token kept at the end, as CLIP's reference does with
    `truncate=True`. The first time, a warning says so.
    """
    with _lock:
        tokenizer = _tokenizer()
        encoded = [tokenizer.encode(_encodable(text)) for text in texts]
    start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
    tokens = np.zeros((len(texts), context_length), np.int64)
    if any(len(ids) > context_length - 2 for ids in encoded):
        _warn_of_cut(context_length)
    for row, ids in zip(tokens, encoded, strict=True):
        ids = [start, *ids[: context_length - 2], end]
        row[: len(ids)] = ids
    return tokens


@cache  # once
def _warn_of_cut(context_length: int) -> None:
    log.warning("a text is longer than the model reads (%d tokens): the rest is ignored", context_length - 2)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which have no tokens, by '?'. Terminals pass bytes that are not UTF-8 as such."""
    return text.encode(errors="replace").decode()

"""Tokenizers that come as a file beside the weights: `tokenizer.json`, or the `vocab.txt` of a BERT."""

from __future__ import annotations

import contextlib
import html
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from .model_folder import read_json
from .spec import Cleaning, ModelSpec
from .tokenizer_check import read_checked, read_text
from .weights import fetch_beside

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
TOKENIZER_CONFIG = "tokenizer_config.json"
# Longer words become the unknown token. Chinese-CLIP's own code has this limit (`WordpieceTokenizer` in cn_clip).
_LONGEST_WORD = 200


class FileTokenizer:
    """Tokenizes texts and adds the start and end tokens. Thread-safe.

    Args:
        file: `tokenizer.json` or `vocab.txt`.
        length: maximum number of tokens per text; a longer text is cut, but keeps its end token.
        padding: id of the token that pads short rows; None takes the one that `tokenizer_config.json` names.
        fills: pad every row to `length` tokens, as SigLIP expects; else pad to the longest row.
        known: number of tokens in the model's vocabulary.

    Raises:
        ModelError: the file cannot be read, or would take more time or memory than a tokenizer may.
    """

    def __init__(
        self, file: Path, length: int, padding: int | None = 0, cleaning: Cleaning = "", fills: bool = False,
        known: int = 2**31,
    ) -> None:  # fmt: skip
        from tokenizers import Tokenizer

        self._file, self._known = file, known
        with self._one_line("holds no tokenizer"):
            self._tokenizer: Any = _wordpiece(file) if file.suffix == ".txt" else Tokenizer.from_str(read_checked(file))
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            if (ends := self._tokenizer.num_special_tokens_to_add(False)) > length:
                raise ValueError(f"it adds {ends:,} tokens to a text, and the model reads {length}")
        self._length, self._cleaning, self._fills = length, cleaning, fills
        config = _read_config(file.with_name(TOKENIZER_CONFIG))
        name = config.get("pad_token") or "<pad>"
        named = self._tokenizer.token_to_id(str(name.get("content") if isinstance(name, dict) else name)) or 0
        self._padding = named if padding is None else padding
        self._fills_left = fills and config.get("padding_side") == "left"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Tokenize n texts, at least one → int64[n, longest].

        Raises:
            ModelError: the tokenizer fails, or belongs to another model.
        """
        with self._one_line("cannot read a text"):
            rows = list(self._rows(texts))
            if (highest := max(max(ids, default=0) for ids in [*rows, [self._padding]])) >= self._known:
                raise ValueError(f"it has a token {highest:,}, and the model knows {self._known:,}")
        longest = self._length if self._fills else max(map(len, rows))
        tokens = np.full((len(rows), longest), self._padding, np.int64)
        for row, ids in zip(tokens, rows, strict=True):
            row[slice(longest - len(ids), None) if self._fills_left else slice(len(ids))] = ids
        return tokens

    def is_cut(self, text: str) -> bool:
        """Return whether a text has more tokens than the model reads. Raises as a call does."""
        with self._one_line("cannot read a text"):
            return len(self._tokenizer.encode(self._clean(text)).ids) > self._length

    def _rows(self, texts: Sequence[str]) -> Iterator[list[int]]:
        ends = self._tokenizer.num_special_tokens_to_add(False)
        for encoded in self._tokenizer.encode_batch([self._clean(text) for text in texts], add_special_tokens=False):
            encoded.truncate(self._length - ends)
            yield self._tokenizer.post_process(encoded).ids

    @contextlib.contextmanager
    def _one_line(self, what: str) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a Rust panic is no Exception, and the package raises plain Exception
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
            raise ModelError(f"{self._file} {what}: {reason or type(error).__name__}") from error

    def _clean(self, text: str) -> str:
        return clean(text.encode(errors="replace").decode(), self._cleaning)  # lone surrogates have no tokens


def tokenizer_of(spec: ModelSpec, weights_path: Path) -> FileTokenizer:
    """Return the tokenizer of a model that does not use CLIP's.

    Raises:
        ModelError: there is none beside the weights, or it cannot be downloaded or read.
    """
    fetch_beside(spec, weights_path, TOKENIZER_CONFIG)
    for name in TOKENIZER_FILES:
        file = fetch_beside(spec, weights_path, name)
        if file is not None:
            padding, known = (
                (spec.text.padding, spec.text.vocab_size) if spec.text else (None, spec.architecture.vocab_size)
            )
            fills = spec.family == "siglip"
            return FileTokenizer(file, spec.context_length, padding, spec.cleaning, fills, known)
    raise ModelError(
        f"{spec.name}: there is no {' and no '.join(TOKENIZER_FILES)} beside {weights_path}: "
        "put there the one that the weights were published with"
    )


def clean(text: str, cleaning: Cleaning) -> str:
    """Clean a text as `open_clip.tokenizer` does for the models that need it."""
    if cleaning == "lower":
        return text.lower()
    if cleaning:
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    if cleaning == "canonicalize":  # from big_vision, with which SigLIP was trained
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
    return " ".join(text.split()) if cleaning else text


def _wordpiece(file: Path) -> Any:
    """Return BERT's lower-casing WordPiece tokenizer with this vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = read_text(file).removesuffix("\n").split("\n")
    vocabulary = {word.strip(): number for number, word in enumerate(words)}
    model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD)
    tokenizer: Any = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    start, end = (("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"]))
    tokenizer.post_processor = processors.BertProcessing(end, start)
    return tokenizer


def _read_config(file: Path) -> dict[str, Any]:
    try:
        values = read_json(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}

"""The second text tower of `builtin`: Google's USE-multilingual with a head into `builtin`'s space, in numpy.

Recipe and figures: BUILTIN.md. The encoder averages over the pieces of a text, each with its neighbours on both sides
(Yang et al. 2019, "Multilingual Universal Sentence Encoder for Semantic Retrieval", the variant without attention).
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError

MULTILINGUAL_FILE = Path(__file__).with_name("builtin-multilingual.safetensors")
# Number of pieces whose codes are compressed together. A text reads at most one block for each of its pieces.
BLOCK_PIECES = 64
PIECE_DIM = 512
# Number of groups of pieces; each group's codes have their own scale. Piece i belongs to group i % CODE_GROUPS.
CODE_GROUPS = 17
_BLOCKS_KEPT = 256  # decompressed blocks in the cache: 8 MB
# Cosines to the nearest known word below which a text is a sentence, and above which it is a word.
_SENTENCE, _WORD = 0.5, 0.65
_SHARPNESS = 50.0  # factor of the cosines in the softmax over known words
_LONGEST = 128  # pieces; a longer text is cut
_WINDOWS = (2, 3, 5)  # pieces that each of the three branches sees at once


@lru_cache(maxsize=1)
def load_multilingual() -> MultilingualTower:
    """Load the tower, once per process.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return MultilingualTower(MULTILINGUAL_FILE)


class MultilingualTower:
    """Embeds texts of sixteen languages (Simplified and Traditional Chinese count as two). Thread-safe.

    Raises:
        ModelError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from sentencepiece import SentencePieceProcessor

        try:
            tensors = load_file(path)
            self._codes, self._ends = tensors.pop("codes").data, tensors.pop("codes.ends")
            vocabulary = zlib.decompress(tensors.pop("sentencepiece").data)
        except (OSError, KeyError, zlib.error, SafetensorError) as error:
            raise ModelError(
                f"{path}, which ships with this package, cannot be read ({error}): reinstall it"
            ) from error
        self.tokenizer: Any = SentencePieceProcessor(model_proto=vocabulary)
        self._weights = _dequantise(tensors)
        self._norm = [
            np.concatenate([self._weights[f"{name}{size}"] for size in _WINDOWS]) for name in ("ln_g", "ln_b")
        ]
        self._lock = threading.Lock()  # with lru_cache alone, two threads could decompress the same block
        self._block = lru_cache(maxsize=_BLOCKS_KEPT)(self._decompress)

    def __deepcopy__(self, memo: object) -> MultilingualTower:
        """Return this tower itself: Towhee deep-copies the objects in a pipeline's declaration."""
        return self

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts → float32[n, dim] in the space of `builtin`, of unit length.

        Two heads share the work. A text near a known English word gets the embedding that `builtin` has for that word.
        A sentence is near no word and goes through a small network. A text in between gets a mixture of both.
        """
        weights, x = self._weights, self.encode(texts)
        cosines = _unit(x @ weights["words.project"]) @ weights["words.keys"].T
        nearest = cosines.max(axis=1, keepdims=True)
        shares = np.exp(_SHARPNESS * (cosines - nearest))
        hidden = _gelu(x @ weights["head.in"] + weights["head.in_bias"])
        sentence = hidden @ weights["head.out"] + weights["head.out_bias"] + x @ weights["head.linear"]
        trust = np.clip((nearest - _SENTENCE) / (_WORD - _SENTENCE), 0, 1)
        return _unit(trust * _unit(shares @ weights["words.values"]) + (1 - trust) * _unit(sentence))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """n texts, at least one → float32[n, 512] of unit length, the sentence encoder's own embeddings."""
        return np.stack([self._encode(text) for text in texts])

    def pieces(self, text: str) -> list[int]:
        """Return the ids of a text's pieces, with those of its start and end."""
        found: list[int] = self.tokenizer.encode(text.encode(errors="replace").decode(), add_bos=True, add_eos=True)
        return found[:_LONGEST]

    def _encode(self, text: str) -> np.ndarray:
        weights, pieces = self._weights, self.pieces(text)
        x = self._embed(pieces)
        projected = [x @ weights[f"proj{size}"] + weights[f"proj_b{size}"] for size in _WINDOWS]
        normed = _layer_norm(np.concatenate(projected, axis=1), *self._norm)
        branches = [self._branch(part, size) for part, size in zip(np.split(normed, 3, axis=1), _WINDOWS, strict=True)]
        mixed = _layer_norm(np.concatenate([x, *branches], axis=1), weights["ln_g"], weights["ln_b"])
        mean = (mixed @ weights["cnn_W"] + weights["cnn_b"]).sum(axis=0) / np.sqrt(np.float32(len(pieces)))
        first = np.maximum(mean @ weights["d0"], 0)
        second = np.maximum(first @ weights["d1"] + mean @ weights["p1"], 0)
        third = np.maximum(second @ weights["d2"], 0)
        out = np.tanh(third @ weights["d3"] + second @ weights["p3"])
        return _unit(out)

    def _branch(self, x: np.ndarray, size: int) -> np.ndarray:
        """Return float32[pieces, 256]: two convolutions over windows of `size` pieces, each added to its input."""
        weights, left = self._weights, (size - 1) // 2
        for layer in ("1", "2"):
            padded = np.pad(x, ((left, size - 1 - left), (0, 0)))
            windows = np.concatenate([padded[start : start + len(x)] for start in range(size)], axis=1)
            x = x + np.maximum(windows @ weights[f"w{layer}_{size}"] + weights[f"b{layer}_{size}"], 0)
        return x

    def _embed(self, pieces: list[int]) -> np.ndarray:
        rows = np.stack([self._row(piece) for piece in pieces]).astype(np.float32)
        group = np.array(pieces) % CODE_GROUPS
        return np.asarray(rows * self._weights["scale"][group, None] + self._weights["lo"][group, None])

    def _row(self, piece: int) -> np.ndarray:
        block, row = divmod(piece, BLOCK_PIECES)
        with self._lock:
            return np.asarray(self._block(block)[row])

    def _decompress(self, block: int) -> np.ndarray:
        start, end = int(self._ends[block - 1]) if block else 0, int(self._ends[block])
        return np.frombuffer(zlib.decompress(self._codes[start:end]), np.uint8).reshape(-1, PIECE_DIM)


def _dequantise(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return all tensors as float32; the codes `NAME` stand for `NAME.step` · code + `NAME.low`."""
    steps = {name.removesuffix(".step"): tensors.pop(name) for name in [*tensors] if name.endswith(".step")}
    values = {name: value.astype(np.float32) for name, value in tensors.items()}
    for name, step in steps.items():
        values[name] = values[name] * step + values.pop(f"{name}.low")
    return values


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _layer_norm(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12) * scale + shift)


def _gelu(x: np.ndarray) -> np.ndarray:
    """Return GELU in its tanh form (Hendrycks and Gimpel 2016)."""
    return np.asarray(x * 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))))

